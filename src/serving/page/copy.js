'use strict';
// What is asked for on the page, as a command and as a program.

const asShell = text => `'${text.replaceAll("'", "'\\''")}'`;

function curl() {
  const key = $('key').value && ` -H 'Authorization: Bearer '"$GPT2_API_KEY"`;
  const url = new URL('v1/completions', location.href);
  const asked = asShell(JSON.stringify(body(), null, 2));
  return `curl ${url} -H 'Content-Type: application/json'${key} -d ${asked}`;
}

function python() {
  const { top_k, min_p, repetition_penalty, ...known } = body();
  const more = { top_k, min_p, repetition_penalty };
  const line = ([name, value]) => `    ${name}=${JSON.stringify(value)},`;
  return `import os

from openai import OpenAI

client = OpenAI(
    base_url=${JSON.stringify(new URL('v1', location.href).href)},
    api_key=os.environ.get("GPT2_API_KEY", "none"),
)
answer = client.completions.create(
${Object.entries(known).map(line).join('\n')}
    extra_body=${JSON.stringify(more)},
)
for choice in answer.choices:
    print(choice.text)
`;
}

async function copy(code) {
  $('code').querySelector('pre').textContent = code;
  const copied = await navigator.clipboard?.writeText(code).then(() => true, () => false);
  $('code').querySelector('span').textContent = copied ? 'Copied.' : 'Select it to copy it.';
  $('code').showModal();
}
