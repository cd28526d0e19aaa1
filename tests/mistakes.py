"""Mistakes that a user can make, and what the sentence about each has."""

import pytest

LONG = 'x' * 300
NOWHERE = 'http://127.0.0.1:9'  # where nobody listens
MODEL = ['--model_name', 'demo']
COMMANDS = {
    'encode': ['encode.py', 'a.txt', 'o.npz', *MODEL],
    'train': ['train.py', '--dataset', 'a.txt', *MODEL],
    'rows': ['train.py', '--dataset', 'columns.jsonl', *MODEL],
    'learn': ['classify.py', 'train', '--task', 'columns.jsonl', *MODEL],
    'answer': ['classify.py', 'predict', 'columns.jsonl', *MODEL],
    'vocabulary': ['make_vocabulary.py', 'a.txt', 'own'],
    'perplexity': ['evaluate.py', 'perplexity', 'a.txt', *MODEL],
    'tasks': ['evaluate.py', 'tasks', 'arc_easy', *MODEL],
    'lambada': ['evaluate.py', 'lambada', *MODEL, '--base_url', NOWHERE],
    'prompts': ['interactive_conditional_samples.py', *MODEL],
    'samples': ['generate_unconditional_samples.py', *MODEL],
    'attention': ['view.py', 'attention', '--prompt', 'O night', *MODEL],
    'predictions': ['view.py', 'predictions', '--prompt', 'O night', *MODEL],
    'download': ['download_model.py', '124M', '--base_url', NOWHERE],
    'import': ['convert.py', 'from_huggingface', '--folder', 'folder', '--model_name', 'own'],
    'export': ['convert.py', 'to_huggingface', '--folder', 'out', *MODEL],
    'saved': ['convert.py', 'to_saved_model', '--folder', 'out', *MODEL],
    'serve': ['serve.py', *MODEL, '--port', '0'],
}
READERS = {
    'encode': [['encode.py'], ['o.npz', *MODEL]],
    'train': [['train.py', '--dataset'], MODEL],
    'perplexity': [['evaluate.py', 'perplexity'], MODEL],
}

# What is added to the arguments of every command, and what the sentence has.
EVERYWHERE = [
    (['--nonsense', '1'], 'could not consume arg: --nonsense.*; run: python '),
    (['--models_dr=x'], r'\(did you mean --models_dir.*\?\); run: python '),
    (['--models_dir'], '--models_dir lacks its value; run: python '),
    (['--nomodels_dir'], '--nomodels_dir lacks its value; run: python '),
    (['--models-dir', '--help='], '--models-dir lacks its value; run: python '),
    (['--models_dir', ''], '--models_dir is empty; give it a value'),
    (['--models_dir='], '--models_dir is empty; give it a value'),
    (['--', '--interactive'], '-- stands for nothing here; run: python '),
    (['--', '--trace'], '-- stands for nothing here; run: python '),
    (['--', '--completion'], '-- stands for nothing here; run: python '),
    (['--', '--separator', 'x'], '-- stands for nothing here; run: python '),
    (['-', '__doc__'], '- stands for nothing here; run: python '),
]
OF_A_MODEL = [
    (
        ['--model_name', 'demo/../../models/demo'],
        "is the name of a folder, not 'demo/../../models/demo'; set --models_dir",
    ),
    (
        ['--model_name', '../models/demo'],
        r'no model in ../models/demo \(no model is there\); run: ',
    ),
    (
        ['--model_name', 'old/gone'],
        r'no model in old/gone \(.*; run: python download_model.py --list',
    ),
    (['--model_name', ''], '--model_name is empty; give it a value'),
    (['--model_name', 'gone'], r'no model in models/gone \(there: .*\); set --model_name to one'),
    (['--model_name', '355M'], r'no model in models/355M .*; run: python download_model.py 355M$'),
    (['--model_name', 'a\nb\x1b[31m'], r'no model in models/a\\nb\\x1b\[31m '),
    (['--model_name', '\udcff'], r'no model in models/\\udcff '),
    (['--models_dir', 'folder'], r'folder/demo \(no model is there\); set --models_dir to where'),
    (['--models_dir', 'a.txt', '--model_name', '117M'], 'no model in a.txt/117M .*; run: python'),
]
OF_SAMPLERS = [
    (['--length', '0'], 'length is from 1 to 10000000, not 0; set --length'),
    (['--length', '10000001'], 'length is from 1 to 10000000, not 10000001; set --length'),
    (['--min_p', '2'], 'min_p is from 0 to 1, not 2'),
    (['--typical_p', '-1'], 'typical_p is from 0 to 1, not -1'),
    (['--repetition_penalty', '0'], 'repetition_penalty is from 0.01 to 100, not 0'),
    (['--frequency_penalty', '3'], 'frequency_penalty is from -2 to 2, not 3'),
    (['--presence_penalty', '-3'], 'presence_penalty is from -2 to 2, not -3'),
    (['--no_repeat_ngram_size', '-1'], 'no_repeat_ngram_size is from 0 to 64, not -1'),
    (['--num_beams', '0'], 'num_beams is from 1 to 64, not 0'),
    (['--num_beams', '2', '--top_p', '0.5'], 'num_beams 2 draws nothing; leave out --top_p'),
    (['--early_stopping', 'soon'], "early_stopping is False, True or never, not 'soon'"),
    (['--stop', '["a", ""]'], 'stop is a text or several, none of them empty'),
    (['--stop', '["a"'], '--stop is no JSON: .*; write it as --help shows'),
    (['--stop'], '--stop lacks its value'),
    (['--logit_bias', '{"a": 1}'], 'logit_bias is numbers from -100 to 100 by ids'),
    (['--logit_bias', '[1]'], 'logit_bias is numbers from -100 to 100 by ids'),
    (['--logit_bias', '{"1": 101}'], 'logit_bias is numbers from -100 to 100 by ids'),
    (['--logit_bias', '{"1024": 1}'], 'logit_bias names the id 1024; they go from 0 to 1023'),
    (['--keep', '256'], 'keep is from 1 to 255, not 256'),
    (['--include_stop', '1'], "--include_stop is True or False, not '1'"),
    (['--length', '1e2'], "--length is a whole number, not '1e2'"),
    (['--temperature', '-1'], 'temperature is at least 0, not -1.0; set --temperature'),
    (['--temperature', 'nan'], "--temperature is a number, not 'nan'"),
    (['--temperature', 'inf'], "--temperature is a number, not 'inf'"),
    (['--temperature', '1e400'], '--temperature is a number, but 1e400 is too large'),
    (['--temperature', 'None'], "--temperature is a number, not 'None'"),
    (['--top_k', '-1'], 'top_k is at least 0, not -1; set --top_k'),
    (['--top_k', '1_000'], "--top_k is a whole number, not '1_000'"),
    (['--top_k', ' 5'], "--top_k is a whole number, not ' 5'"),
    (['--top_k', '٣'], "--top_k is a whole number, not '٣'"),
    (['--top_p', '1.1'], 'top_p is from 0 to 1, not 1.1; set --top_p'),
    (['--seed', '-1'], 'seed is at least 0, not -1; set --seed'),
    (['--seed', '9' * 30], '--seed is a whole number, but 9{30} is too large'),
    (['--seed', '9' * 5000], '--seed is a whole number, but 9{5000} is too large'),
    (['--nsamples', '-1'], 'nsamples is at least 0, not -1; set --nsamples'),
    (['--batch_size', '0'], 'batch_size is at least 1, not 0'),
    (['--batch_size', '1000000000'], '--batch_size is at most 65536, not 1000000000; set'),
    (['--precision', 'float8'], '--precision is float32, bfloat16, float16 or int8, not float8'),
]
OF_SCORES = [
    (['--batch_size', '0'], 'batch_size is at least 1, not 0'),
    (['--batch_size', '1000000000'], '--batch_size is at most 65536, not 1000000000; set'),
    (['--output_path'], '--output_path lacks its value; run: python evaluate.py '),
    (['--output_path', ''], '--output_path is empty; give it a value'),
    (['--output_path', 'gone/o.json'], 'no folder gone for o.json; run: mkdir gone'),
    (['--output_path', 'a b/c/o.json'], "no folder a b/c for o.json; run: mkdir -p 'a b/c'"),
    (['--output_path', 'a.txt/o.json'], 'a.txt is no folder; choose another place for o.json'),
    (['--output_path', '/dev/null'], '/dev/null cannot be written; set --output_path to another'),
    (['--output_path', 'pipe'], 'pipe cannot be written; set --output_path to another file'),
    (['--output_path', 'folder'], 'folder cannot be written; set --output_path to another file'),
    (['--precision', 'float8'], '--precision is float32, bfloat16, float16 or int8, not float8'),
]
OF_PAGES = [
    (['--output', ''], '--output is empty; give it a value'),
    (['--output', 'gone/o.html'], 'no folder gone for o.html; run: mkdir gone'),
    (['--output', 'a.txt'], 'a.txt holds something else than a page; set --output elsewhere'),
    (['--output', 'folder'], 'folder holds something else than a page; set --output elsewhere'),
    (['--output', 'pipe'], 'pipe holds something else than a page; set --output elsewhere'),
    (['--precision', 'float8'], '--precision is float32, bfloat16, float16 or int8, not float8'),
    (['--prompt', ''], '--prompt is empty; give it a value'),
    (['--prompt', 'x' * 5000], '[0-9]+ tokens are more than the [0-9]+ of the context; shorten'),
]
OF_SEVERAL = {
    **dict.fromkeys(('encode', 'train', 'serve', 'learn', 'answer'), OF_A_MODEL),
    **dict.fromkeys(('prompts', 'samples'), OF_A_MODEL + OF_SAMPLERS),
    **dict.fromkeys(('perplexity', 'tasks', 'lambada'), OF_A_MODEL + OF_SCORES),
    **dict.fromkeys(('attention', 'predictions'), OF_A_MODEL + OF_PAGES),
}
OF_ONE = {
    'train': [
        (['--dataset', ''], '--dataset is empty; give it a value'),
        (['--dataset'], '--dataset lacks its value; run: python train.py --help'),
        (['--run_name'], '--run_name lacks its value; run: python train.py --help'),
        (['--run_name', '..'], "--run_name is the name of a folder in checkpoint, not '..'"),
        (['--run_name', 'a/b'], "--run_name is the name of a folder in checkpoint, not 'a/b'"),
        (['--run_name', LONG], '--run_name has more than 200 bytes; set a shorter one'),
        (['--restore_from', 'gone'], 'there is no gone; set --restore_from to latest, fresh'),
        (['--restore_from', LONG], 'x{300}(.index)?: File name too long; choose a shorter name'),
        (['--restore_from', 'folder'], 'folder/checkpoint cannot be read: '),
        (['--val_dataset', 'gone.txt'], 'gone.txt is no file, no folder, and no pattern'),
        (['--column', 'x'], 'a.txt has no columns, .*; leave out --column x'),
        (['--learning_rate', '-1'], '--learning_rate is a number from 0 up, not -1.0'),
        (['--learning_rate', 'nan'], "--learning_rate is a number, not 'nan'"),
        (['--learning_rate', 'fast'], "--learning_rate is a number, not 'fast'"),
        (['--optimizer', 'lion'], '--optimizer is adam or sgd, not lion'),
        (['--noise', '2'], '--noise is a share from 0 to 1, not 2.0'),
        (['--dropout', '1'], '--dropout 1 leaves nothing; set it below 1'),
        (['--combine', '-5'], '--combine is a number from 0 up, not -5'),
        (['--max_steps', '0'], '--max_steps is a number from 1 up, not 0'),
        (['--max_steps'], '--max_steps lacks its value; run: python train.py --help'),
        (['--seed', str(2**63)], r'--seed is below 2\*\*63, not 9223372036854775808'),
        (['--batch_size', '1000000000'], 'gradients is at most 65536, not 1000000000; set a'),
        (['--accumulate_gradients', '65537'], 'gradients is at most 65536, not 65537; set a'),
        (['--val_batch_size', '65537'], '--val_batch_size is at most 65536, not 65537; set a'),
        (['--context_length', '257'], '--context_length 257 is more than the n_ctx of 256'),
        (['--n_layer', '5'], r'n_layer \d, not 5; leave out --n_layer, or add --restore_from'),
        (['--shape', 'gpt4'], '--shape is gpt3-125m, .* or gpt3-175b, not gpt4$'),
        (['--attention', 'local'], 'attention is a list of "dense" and "banded", one or more, not'),
        (['--beta2', '1'], '--beta2 1 leaves nothing; set it below 1'),
        (['--memory_saving_gradients', 'yes'], "gradients is True or False, not 'yes'"),
        (['--encoding', 'utf-99'], "no encoding of text is called 'utf-99'; --encoding is"),
        (['--encoding', '\udcff'], r"no encoding of text is called '\\udcff'; --encoding is"),
        (['--template', '{a}</s>'], 'a.txt is no .csv or .jsonl file; name one that holds rows'),
        (['--loss_on', 'a'], '--loss_on is for rows; set --template, too, or leave it out'),
        (['--special_tokens', '</s>'], '--special_tokens is for rows; set --template, too, or'),
        (['--cut', 'both'], '--cut is left or right, not both'),
    ],
    'rows': [
        (['--template', 'a'], "--template 'a' names no field; write one in braces, as in "),
        (
            ['--template', '{c}'],
            'line 1 has no field c, but: a, b; mend the row, or set --template',
        ),
        (
            ['--template', '{a}', '--loss_on', 'c'],
            '--loss_on c is no field of the template, but: a',
        ),
        (['--template', '{a}', '--special_tokens', 'of,the'], "between signs, .*, not 'of'; write"),
    ],
    'learn': [
        (['--task', 'gone.csv'], 'gone.csv is no .csv or .jsonl file; name one that holds rows'),
        (['--task', 'list.jsonl'], 'list.jsonl line 1 is no JSON object; mend the row'),
        (['--task', 'deep.jsonl'], 'deep.jsonl line 1 is broken: .*; mend the row'),
        (['--val_task', 'gone.csv', '--label', 'a', '--text', 'b'], 'has 1 labels in the column a'),
        (['--kind', 'riddle'], '--kind is classification, pair, .*, not riddle'),
        (['--kind', 'cloze'], '--kind cloze and --patterns FILE go together; set both, or none'),
        (['--patterns', 'a.txt'], '--kind cloze and --patterns FILE go together; set both, or'),
        (['--kind', 'cloze', '--patterns', 'a.txt'], 'a.txt holds no patterns: .*; write it as'),
        (['--kind', 'pair'], 'columns.jsonl line 1 has no column label, but: a, b; set --text'),
        (['--run_name', '..'], "--run_name is the name of a folder in checkpoint, not '..'"),
        (['--restore_from', 'gone'], 'there is no gone; set --restore_from to latest, fresh'),
        (['--epochs', '0'], '--epochs is a number from 1 up, not 0'),
        (['--warmup', '1.5'], '--warmup is a share from 0 to 1, not 1.5'),
        (['--head_dropout', '1'], '--head_dropout 1 leaves nothing; set it below 1'),
        (['--head_bias', 'yes'], "--head_bias is True or False, not 'yes'"),
        (['--lm_weight', '-1'], '--lm_weight is a number from 0 up, not -1.0'),
    ],
    'answer': [
        ([], 'demo has learnt no task; run: python classify.py train --task FILE, and name its'),
        (['--batch_size', '0'], 'batch_size is at least 1, not 0; set --batch_size'),
        (['--output_path', 'gone/o.jsonl'], 'no folder gone for o.jsonl; run: mkdir gone'),
        (['--output_path', 'folder'], 'folder is no file; set --output_path to another place'),
    ],
    'encode': [
        (['--combine', '-5'], 'combine is at least 0, not -5; set --combine'),
        (['--combine'], '--combine lacks its value; run: python encode.py --help'),
        (['--workers', '0'], 'workers is at least 1, not 0; set --workers'),
        (['--workers', '1000000000'], '--workers is at most 1024, not 1000000000; set a'),
        (['--column', 'x'], 'a.txt has no columns, .*; leave out --column x'),
        (['--encoding', 'hex'], "no encoding of text is called 'hex'; --encoding is"),
        (['--encoding', 'utf-16'], 'a.txt is not utf-16 at byte 0; say what it is'),
        (['b.txt'], 'the output, named last, is to be an .npz file, not b.txt'),
        (['gone/o.npz'], 'there is no folder gone for o.npz; run: mkdir gone'),
        ([f'{LONG}.npz'], 'x{300}.npz: File name too long; choose a shorter name'),
        ([''], 'an argument is empty; give it a value'),
    ],
    'vocabulary': [
        (['--n_vocab', '256'], '--n_vocab is at least 257, .* and at most 1000000, not 256'),
        (['--n_vocab', '99999999999'], '--n_vocab is at least 257, .*, not 99999999999; set it'),
        (['--n_vocab', '-1'], '--n_vocab is at least 257, .*, not -1; set it'),
        (['--n_vocab'], '--n_vocab lacks its value; run: python make_vocabulary.py --help'),
        (['--encoding', 'utf-16'], 'a.txt is not utf-16 at byte 0; say what it is'),
        (['--encoding', 'hex'], "no encoding of text is called 'hex'; --encoding is"),
        (['--models_dir', 'a.txt'], 'a.txt/own cannot be written: Not a directory; choose another'),
    ],
    'perplexity': [
        (['--stride', '0'], '--stride is from 1 to the n_ctx of 256, not 0'),
        (['--stride', '257'], '--stride is from 1 to the n_ctx of 256, not 257'),
        (['--stride', '-5'], '--stride is from 1 to the n_ctx of 256, not -5'),
        (['--column', 'x'], 'a.txt has no columns, .*; leave out --column x'),
        ([''], 'an argument is empty; give it a value'),
    ],
    'tasks': [
        (['--limit', '0'], '--limit is at least 1, not 0'),
        (['--limit', '-5'], '--limit is at least 1, not -5'),
        (['--num_fewshot', '1_0'], '--num_fewshot is whole numbers, as in 0,1,5, not 1_0'),
        (['--num_fewshot', '-1'], '--num_fewshot is whole numbers, as in 0,1,5, not -1'),
        (['--num_fewshot', '9' * 30], '--num_fewshot is whole numbers, as in 0,1,5, not 9{30}'),
        (['--include_path', 'gone'], 'there is no folder gone; set --include_path'),
        (['--include_path', ''], '--include_path is empty; give it a value'),
        (['--include_path'], '--include_path lacks its value; run: python evaluate.py tasks'),
    ],
    'lambada': [
        (['--limit', '0'], '--limit is at least 1, not 0'),
        (['--base_url', 'ftp://x'], "'ftp://x' is no address .*; set --base_url or GPT2_DATA_URL"),
        (['--data_dir', ''], '--data_dir is empty; give it a value'),
        (
            ['--data_dir', 'a.txt'],
            'a.txt: File exists; choose another place, and once that is settled, run: ',
        ),
    ],
    'attention': [
        (['--layer', '-1'], 'layer is from 0 to [0-9]+, not -1; set --layer to such a number'),
        (['--layer', '99'], 'layer is from 0 to [0-9]+, not 99; set --layer to such a number'),
        (['--heads', '99'], 'heads is from 0 to [0-9]+, not 99; set --heads to such a number'),
        (['--heads', '0-3'], '--heads is whole numbers, as in 0,3, not 0-3'),
        (['--heads', '1,'], '--heads is whole numbers, as in 0,3, not 1,'),
    ],
    'serve': [
        (['--host', '0.0.0.0'], 'without a key everybody may use 0.0.0.0; set --api_key or GPT2_'),
        (['--port', '65536'], 'port is from 0 to 65535, not 65536; set --port'),
        (['--max_batch', '0'], 'max_batch is from 1 to 1024, not 0; set --max_batch'),
        (['--max_waiting', '-1'], 'max_waiting is from 0 to 65536, not -1; set --max_waiting'),
        (['--grace', '-1'], 'grace is from 0 to 3600, not -1; set --grace'),
        (
            ['--precision', 'float8'],
            '--precision is float32, bfloat16, float16 or int8, not float8',
        ),
        (['--model_name', ','], 'no model is named; run: python serve.py --model_name demo'),
        (['--model_name', 'demo,gone'], r'no model in models/gone \(there: .*\); set --model_name'),
    ],
    'download': [
        (['125M'], "no model is called '125M', the names are"),
        (['../124M'], "no model is called '../124M', the names are"),
        (['--base_url'], '--base_url lacks its value; run: python download_model.py --help'),
        (['--base_url', ''], '--base_url is empty; give it a value'),
        *(
            (['--base_url', url], 'is no address .*; set --base_url or GPT2_MODELS_URL to one')
            for url in (
                *('ftp://example.com', 'file:///etc/passwd', 'example.com', '/tmp', 'http://'),
                *('http:example.com', 'http://[::', 'http://a:99999999', 'http://a:b', 'http://.a'),
                *('http://a b/', 'http://' + '*.x', 'https://\udcff/'),
            )
        ),
        (['--base_url', 'http://ä..de'], 'cannot be fetched: .*; try another --base_url'),
        (['--base_url', f'http://{LONG}.de'], 'cannot be fetched: .*; try another --base_url'),
        (['--models_dir', 'a.txt'], 'a.txt.*: Not a directory; choose another place'),
        (['--models_dir', LONG], 'x{300}.*: File name too long; choose a shorter name, and'),
        (['--hub', 'a/b'], '--hub names the model; leave it out, or 124M'),
        (['--revision', 'main'], '--revision is for --hub; leave it out, or name a model of a hub'),
    ],
    'import': [
        ([], 'folder/config.json is missing; name the folder of a Hugging Face model'),
        (['--folder', 'gone'], 'gone/config.json is missing; name the folder of a Hugging Face'),
        (
            ['--models_dir', 'old', '--model_name', 'demo'],
            'old/demo is there already; name',
        ),
        (['--model_name', '../own'], "is the name of a folder, not '../own'; set --models_dir"),
        (['--model_name', LONG], "is the name of a folder, not 'x{70,}; set --models_dir"),
    ],
    'export': [
        (['--folder', 'old'], 'old is there already; name another folder'),
        (['--folder', 'a.txt'], 'a.txt is there already; name another folder'),
        (['--folder', ''], '--folder is empty; give it a value'),
        (['--folder', LONG], 'x{300} cannot be written: File name too long; choose a shorter name'),
    ],
    'saved': [(['--folder', 'old'], 'old is there already; name another folder')],
}
OTHERS = [
    (['convert.py', 'from_hf', 'a', 'b'], 'there is no command from_hf.*; run: python convert.py'),
    (['convert.py', 'to_huggingface', 'demo'], '--folder is missing; run: python convert.py'),
    (['encode.py'], 'say what to encode and where to; run: python encode.py TEXT OUT.npz'),
    (['encode.py', 'a.txt'], 'say what to encode and where to; run: python encode.py TEXT'),
    (['train.py'], 'no text is named to train on; run: python train.py --dataset FILE, or'),
    (
        ['make_vocabulary.py', 'a.txt'],
        '--model_name is missing; run: python make_vocabulary.py --help',
    ),
    (['make_vocabulary.py', 'a.txt', '..'], "--model_name is the name of a folder, not '..'; set"),
    (['make_vocabulary.py', 'a.txt', '../own'], "is the name of a folder, not '../own'; set"),
    (['make_vocabulary.py', 'a.txt', ''], '--model_name is empty; give it a value'),
    (
        ['make_vocabulary.py', 'a.txt', 'demo', '--models_dir', '$HERE/old'],
        'has a vocabulary; name',
    ),
    (['make_vocabulary.py', '', 'own'], '--text is empty; give it a value'),
    *(
        (['make_vocabulary.py', name, 'own'], 'is no file; name one that holds text')
        for name in ('gone.txt', 'pipe', 'folder', '/dev/zero', '~/gone', '$HERE/gone')
    ),
    (['make_vocabulary.py', 'le.txt', 'own'], 'looks like utf-16-le, not utf-8; set --encoding'),
    (['make_vocabulary.py', 'latin.txt', 'own'], 'is not utf-8 at byte 2; say what it is'),
    (['evaluate.py', 'perplxity'], r'no command perplxity \(did you mean perplexity\?\), but'),
    (
        ['evaluate.py', '--limit', '3'],
        'there is no command --limit, but perplexity, tasks, lambada',
    ),
    (['view.py', 'attentions'], r'no command attentions \(did you mean attention\?\), but'),
    (['view.py', 'attention', *MODEL], '--prompt is missing; run: python view.py attention --help'),
    (['evaluate.py', 'perplexity'], 'no text is named; run: python evaluate.py perplexity FILE'),
    (['evaluate.py', 'tasks'], '--names is missing; run: python evaluate.py tasks --help'),
    (['evaluate.py', 'tasks', ',', *MODEL], 'no task is named; run: lm-eval ls tasks'),
    (['download_model.py'], 'no model is named, the names are .*; run: python download_model.py'),
]
COLUMN = 'line 1 has no column text, but: a, b; set --column to one'
OF_FILES = {
    'gone.txt': 'gone.txt is no file, no folder, and no pattern that matches a file; name one',
    '*.gone': 'is no file, no folder, and no pattern that matches a file; name one',
    'pipe': 'pipe is no file, no folder, and no pattern that matches a file; name one',
    '/dev/zero': '/dev/zero is no file, no folder, and no pattern that matches a file; name one',
    'a.txt/b': 'a.txt/b is no file, no folder, and no pattern that matches a file; name one',
    LONG: '(x{300}: File name too long; choose a shorter name|x{300} is no file)',
    '\udcff': r'\\udcff is no file',
    'a\nb': r'a\\nb is no file',
    'empty.txt': 'empty.txt holds no t',
    'folder': 'folder holds no t',
    'le.txt': 'le.txt looks like utf-16-le, not utf-8; set --encoding utf-16-le',
    'be.txt': 'be.txt looks like utf-16-be, not utf-8; set --encoding utf-16-be',
    'le.csv': 'le.csv looks like utf-16-le, not utf-8; set --encoding utf-16-le',
    'mark.txt': 'mark.txt looks like utf-16, not utf-8; set --encoding utf-16',
    'latin.txt': 'latin.txt is not utf-8 at byte 2; say what it is, as in --encoding latin-1',
    'deep.jsonl': 'deep.jsonl line 1 is broken: .*; mend the row',
    'list.jsonl': 'list.jsonl line 1 is no JSON object; mend the row',
    'long.jsonl': 'long.jsonl line 1 has .{1,99} as text, which is no text; mend the row',
    'columns.jsonl': COLUMN,
    'text.npz': 'text.npz (is encoded already; run: python|holds no token .*; run: python)',
}


def cases():
    """(arguments, what the sentence has) of every case, with a name for it."""
    for name, command in COMMANDS.items():
        for more, sentence in EVERYWHERE + OF_SEVERAL.get(name, []) + OF_ONE.get(name, []):
            yield pytest.param([*command, *more], sentence, id=f'{name} {shown(more)}')
    yield from (pytest.param(*case, id=shown(case[0])) for case in OTHERS)
    for name, (before, behind) in READERS.items():
        for file, sentence in OF_FILES.items():
            yield pytest.param([*before, file, *behind], sentence, id=f'{name} {shown([file])}')


def shown(words):
    return ascii(' '.join(words))[1:40]
