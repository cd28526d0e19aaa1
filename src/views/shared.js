const data = JSON.parse(document.getElementById('data').textContent)
const find = id => document.getElementById(id)

// ' the' -> '·the': blanks that can be seen.
const visible = text => text.replaceAll(' ', '·').replaceAll('\n', '↵').replaceAll('\t', '⇥')

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties)
  element.append(...children)
  return element
}

// An element that shows a token; what it is made of appears under the mouse.
function tokenElement(tag, id, text) {
  const token = data.tokens[id]
  const part = token.part ? ', part of a character' : ''
  return make(tag, {
    className: token.part ? 'token part' : 'token',
    title: `“${visible(token.text)}”, id ${id}, bytes ${token.bytes}${part}`,
    textContent: text ?? visible(token.text),
  })
}

// Arrow keys go through the elements of a list, of which Tab reaches one.
function walk(list) {
  const items = [...list.children]
  items.forEach((item, i) => { item.tabIndex = i ? -1 : 0 })
  list.addEventListener('focusin', event => {
    for (const item of items) item.tabIndex = item === event.target ? 0 : -1
  })
  list.addEventListener('keydown', event => {
    const steps = {ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1}
    const next = {Home: 0, End: items.length - 1}[event.key] ??
      items.indexOf(document.activeElement) + (steps[event.key] ?? NaN)
    if (!items[next]) return
    items[next].focus()
    event.preventDefault()
  })
}
