import re

from setuptools import setup

package = open('src/__init__.py', encoding='utf-8').read()

ROOMS = 'classification data evaluation formats scripts serving training views'.split()
SCRIPTS = [
    'classify.py',
    'convert.py',
    'download_model.py',
    'encode.py',
    'evaluate.py',
    'generate_unconditional_samples.py',
    'interactive_conditional_samples.py',
    'make_vocabulary.py',
    'serve.py',
    'train.py',
    'view.py',
]

setup(
    name='gpt-2',
    version=re.search(r"^__version__ = '(.*?)'", package, re.M)[1],
    description="OpenAI's GPT-2 in TensorFlow 2: the same files, flags and checkpoints",
    long_description=open('README.md', encoding='utf-8').read(),
    long_description_content_type='text/markdown',
    license='MIT',
    python_requires='>=3.10',
    packages=['gpt2', *(f'gpt2.{room}' for room in ROOMS)],
    package_dir={'gpt2': 'src', 'gpt2.scripts': '.'},
    package_data={'gpt2.serving': ['page/*'], 'gpt2.views': ['*.html', '*.css', '*.js']},
    entry_points={'console_scripts': [f'{name} = gpt2.commands:run' for name in SCRIPTS]},
    install_requires=[
        # Before 2.21 XLA's log comes to the terminal; 2.19 computes nonsense by kept compilations.
        'tensorflow>=2.21,<3',
        'numpy>=1.26,<3',
        'regex>=2024.4.16',
        'requests>=2.33,<3',  # earlier ones warn of the chardet that lm-eval brings
        'fire>=0.7,<1',
        'tqdm>=4.66.3,<5',
    ],
    extras_require={
        'gpu': ['tensorflow[and-cuda]>=2.21,<3'],
        'tensorboard': ['tensorboard>=2.18'],
        'fast': ['tiktoken>=0.8'],
        'scratch': ['tokenizers>=0.20'],
        'hf': ['safetensors>=0.5', 'tokenizers>=0.20', 'huggingface_hub>=1.0'],
        'eval': ['lm_eval>=0.4.13,<0.5'],
        'notebooks': ['jupyter>=1.1', 'matplotlib>=3.9'],
        'server': ['starlette>=0.40', 'uvicorn>=0.30'],
        'test': [
            'pytest>=8',
            'pytest-xdist>=3.6',
            'huggingface_hub>=1.0',
            'httpx>=0.27',
            'hypothesis>=6.100',
            'ipykernel>=6.29',
            'lm_eval[api]>=0.4.13,<0.5',
            'matplotlib>=3.9',
            'nbclient>=0.10',
            'openai>=1',
            'ruff>=0.9',
            'safetensors>=0.5',
            'setuptools>=70.1',
            'starlette>=0.40',
            'tensorboard>=2.18',
            'tiktoken>=0.8',
            'tokenizers>=0.20',
            'uvicorn>=0.30',
        ],
    },
)
