'use strict';
// One text, continued by the server. What comes from it enters the page as text alone.

const $ = id => document.getElementById(id);

// Name: [default, least, most, step, what it is]; those without a range are text.
const FIELDS = {
  max_tokens: [64, 1, 1024, 1, 'Tokens at most'],
  temperature: [0.8, 0, 2, 0.05, '0: always the most probable token'],
  top_k: [40, 0, 200, 1, 'Only the k most probable; 0: all'],
  top_p: [1, 0, 1, 0.01, 'Only the most probable, of this probability in all'],
  min_p: [0, 0, 1, 0.01, 'Only those this probable beside the first'],
  repetition_penalty: [1, 0.5, 2, 0.05, 'Above 1: fewer repetitions'],
  frequency_penalty: [0, -2, 2, 0.1, 'Less for each time a token was drawn'],
  presence_penalty: [0, -2, 2, 0.1, 'Less once a token was drawn'],
  n: [1, 1, 8, 1, 'Samples side by side'],
  seed: ['', null, null, null, 'Empty: another text each time'],
  stop: ['', null, null, null, 'Ends a sample; \\n: new line'],
};
const PRESETS = {
  Balanced: { temperature: 0.8, top_k: 40, top_p: 1, min_p: 0 },
  Careful: { temperature: 0.6, top_k: 0, top_p: 0.9, min_p: 0 },
  Inventive: { temperature: 1.1, top_k: 0, top_p: 1, min_p: 0.05 },
  'As it was trained': { temperature: 1, top_k: 0, top_p: 1, min_p: 0 },
  'Most probable': { temperature: 0, top_k: 0, top_p: 1, min_p: 0 },
};

let running = null;  // an AbortController
const earlier = [];  // texts before each continuation

function element(tag, text, properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  made.textContent = text;
  return made;
}

function build() {
  for (const [name, [value, low, high, step, help]] of Object.entries(FIELDS)) {
    const ranged = low !== null;
    const label = element('label', name.replaceAll('_', ' '), { title: help });
    const input = element('input', '', { id: name, type: ranged ? 'number' : 'text', value });
    label.append(input);
    if (ranged) {
      const range = element('input', '', { type: 'range', ariaLabel: `${name} slider` });
      for (const one of [input, range]) Object.assign(one, { min: low, max: high, step });
      range.value = value;
      input.addEventListener('input', () => { range.value = input.value; });
      range.addEventListener('input', () => { input.value = range.value; });
      label.append(range);
    } else {
      input.placeholder = help;
    }
    $('fields').append(label);
  }
  for (const name of Object.keys(PRESETS)) $('preset').append(element('option', name));
  $('preset').addEventListener('change', () => {
    for (const [name, value] of Object.entries(PRESETS[$('preset').value])) set(name, value);
  });
  if (innerWidth < 768) $('parameters').open = false;
  $('key').value = localStorage.getItem('key') ?? '';
  $('key').addEventListener('change', () => {
    localStorage.setItem('key', $('key').value);
    findModels();
  });
}

function set(name, value) {
  $(name).value = value;
  $(name).dispatchEvent(new Event('input'));
}

function headers() {
  const key = $('key').value;
  return { 'Content-Type': 'application/json', ...(key && { Authorization: `Bearer ${key}` }) };
}

async function findModels() {
  try {
    const answer = await fetch('v1/models', { headers: headers() });
    if (answer.status === 503) {
      $('status').textContent = 'The model is being loaded …';
      return setTimeout(findModels, 1000);
    }
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error.message);
    $('model').replaceChildren(...found.data.map(model => element('option', model.id)));
    const room = Math.min(...found.data.map(model => model.max_model_len));
    for (const input of $('max_tokens').parentNode.querySelectorAll('input')) input.max = room;
    $('status').textContent = '';
    say('');
  } catch (error) {
    say(error.message);
  }
}

// The text. A browser shows a new line at its very end by one more, which is no part of it.
function written() {
  return $('text').innerText.replace(/\n$/, '');
}

function showEnd(shown) {
  let last = $('text');
  while (last.lastChild) last = last.lastChild;
  if (!$('text').textContent.endsWith('\n')) return;
  if (shown) $('text').append('\n');
  else last.data = last.data.slice(0, -1);
}

function say(message) {
  const sentence = message && message[0].toUpperCase() + message.slice(1).replace(/\.?$/, '.');
  $('error').textContent = sentence;
  $('error').hidden = !message;
}

// What is asked of the server; a field out of its range is told there.
function body() {
  const asked = { model: $('model').value, prompt: written() };
  for (const [name, [, low]] of Object.entries(FIELDS)) {
    const value = $(name).value.trim();
    if (name === 'stop') {
      if ($(name).value) asked.stop = [$(name).value.replaceAll('\\n', '\n')];
    } else if (value !== '') {
      asked[name] = Number.isNaN(Number(value)) ? value : Number(value);
    } else if (low !== null) {
      asked[name] = FIELDS[name][0];
    }
  }
  return asked;
}

async function* events(asked, signal) {
  const answer = await fetch('v1/completions', {
    method: 'POST', headers: headers(), signal, body: JSON.stringify(asked),
  });
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  const decoder = new TextDecoder();
  let rest = '';
  for (const reader = answer.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + decoder.decode(value, { stream: true })).split('\n\n');
    rest = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, '');
      if (data === '[DONE]') return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message);
      yield chunk;
    }
  }
}

async function go() {
  if (running) return;
  say('');
  const asked = { ...body(), stream: true, logprobs: 5 };
  const before = written();
  showEnd(false);
  running = new AbortController();
  show(true);
  const places = [$('text')];
  if (asked.n > 1) places.splice(0, 1, ...samples(asked.n));
  else $('samples').hidden = true;
  let tokens = 0;
  const began = performance.now();
  try {
    for await (const { choices } of events(asked, running.signal)) {
      for (const { text, index, logprobs } of choices) {
        if (tokens === 0) remember(before);
        tokens += logprobs?.tokens.length ?? 0;
        if (text) places[index].append(drawn(text, logprobs));
      }
      const speed = tokens / (performance.now() - began) * 1000;
      $('status').textContent = `${tokens} tokens, ${speed.toFixed(0)} per second`;
    }
  } catch (error) {
    if (error.name !== 'AbortError') say(error.message);
  }
  running = null;
  show(false);
  showEnd(true);
  toEnd();
}

function samples(n) {
  const places = [];
  $('samples').replaceChildren();
  $('samples').hidden = false;
  for (let i = 0; i < n; i++) {
    const sample = element('div', '', { className: 'sample' });
    const place = element('div', '');
    const keep = element('button', 'Keep this one');
    keep.addEventListener('click', () => {
      stop();
      showEnd(false);
      $('text').append(...place.childNodes);
      showEnd(true);
      $('samples').hidden = true;
      toEnd();
    });
    sample.append(place, keep);
    $('samples').append(sample);
    places.push(place);
  }
  return places;
}

// A piece of text that knows the probabilities of its tokens.
function drawn(text, logprobs) {
  const made = element('span', text, { className: 'token' });
  const percent = log => `${(100 * Math.exp(log)).toFixed(1).padStart(5)}%`;
  const quoted = token => token.startsWith('bytes:') ? token : JSON.stringify(token);
  made.told = logprobs?.tokens.map((token, i) => {
    const others = Object.entries(logprobs.top_logprobs[i]).sort((a, b) => b[1] - a[1]);
    const lines = others.map(([other, log]) =>
      `${other === token ? '▸' : ' '} ${percent(log)} ${quoted(other)}`);
    return lines.join('\n');
  }).join('\n\n');
  made.whole = text;
  return made;
}

function remember(text) {
  earlier.push(text);
  $('undo').disabled = $('again').disabled = false;
}

function undo() {
  stop();
  if (!earlier.length) return;
  $('text').textContent = earlier.pop();
  showEnd(true);
  $('samples').hidden = true;
  $('undo').disabled = $('again').disabled = !earlier.length;
  toEnd();
}

function stop() {
  running?.abort();
}

async function again() {
  undo();
  while (running) await new Promise(done => setTimeout(done, 10));
  go();
}

function show(busy) {
  $('go').hidden = busy;
  $('stop').hidden = !busy;
  $('text').contentEditable = busy ? 'false' : editable;
}

function toEnd() {
  $('text').focus();
  getSelection().selectAllChildren($('text'));
  getSelection().collapseToEnd();
}

// Where the text under a token is another by now, its probabilities are not told any more.
function forget() {
  for (const token of $('text').querySelectorAll('.token')) {
    if (token.textContent !== token.whole) token.replaceWith(...token.childNodes);
  }
}

function showTip({ target }) {
  const told = target.closest?.('.token')?.told;
  $('tip').hidden = !told;
  if (!told) return;
  $('tip').textContent = told;
  const place = target.getBoundingClientRect();
  const left = Math.min(place.left, innerWidth - $('tip').offsetWidth - 8);
  $('tip').style.left = `${scrollX + Math.max(8, left)}px`;
  $('tip').style.top = `${scrollY + place.bottom + 4}px`;
}

build();
const editable = $('text').contentEditable === 'plaintext-only' ? 'plaintext-only' : 'true';
findModels();
for (const [id, act] of Object.entries({ go, stop, undo, again })) $(id).addEventListener('click', act);
$('curl').addEventListener('click', () => copy(curl()));
$('python').addEventListener('click', () => copy(python()));
$('text').addEventListener('input', forget);
$('text').addEventListener('paste', event => {
  event.preventDefault();
  document.execCommand('insertText', false, event.clipboardData.getData('text/plain'));
});
for (const kind of ['mouseover', 'click']) document.addEventListener(kind, showTip);
document.addEventListener('keydown', event => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    go();
  }
  if (event.key === 'Escape') stop();
});
