from setuptools import setup

setup(
    name='gpt-2',
    version='0.1.0',
    description="OpenAI's GPT-2 in TensorFlow 2: the same files, flags and checkpoints",
    long_description=open('README.md', encoding='utf-8').read(),
    long_description_content_type='text/markdown',
    license='MIT',
    python_requires='>=3.10',
    packages=['gpt2'],
    package_dir={'gpt2': 'src'},
    scripts=[
        'download_model.py',
        'encode.py',
        'generate_unconditional_samples.py',
        'interactive_conditional_samples.py',
        'make_vocabulary.py',
        'train.py',
    ],
    install_requires=[
        'tensorflow>=2.18,<3',
        'numpy>=1.26,<3',
        'regex>=2024.4.16',
        'requests>=2.31,<3',
        'fire>=0.6,<1',
        'tqdm>=4.66,<5',
    ],
    extras_require={
        'gpu': ['tensorflow[and-cuda]>=2.18,<3'],
        'tensorboard': ['tensorboard>=2.18'],
        'scratch': ['tokenizers>=0.20'],
        'test': [
            'pytest>=8',
            'hypothesis>=6.100',
            'ruff>=0.9',
            'setuptools>=70.1',
            'tensorboard>=2.18',
            'tiktoken>=0.7',
            'tokenizers>=0.20',
        ],
    },
)
