"""README.md from nbs/index.ipynb: its prose, its shown code, and that code's text output."""
import re
import sys
from pathlib import Path

from nbconvert import MarkdownExporter
from nbformat import read

NOTICE = '<!-- Generated from nbs/index.ipynb by `make readme`: edit there. -->\n\n'


def readme(root):
    "The text of README.md for the project in `root`."
    nb = read(Path(root)/'nbs'/'index.ipynb', as_version=4)
    nb.metadata['language_info'] = {'name': 'python', 'pygments_lexer': 'python'}
    nb.cells = [o for o in nb.cells if o.cell_type == 'markdown' or not re.match(r'#\|\s*(hide|default_exp)', o.source)]
    for o in nb.cells:
        if o.cell_type == 'code':
            for out in o.outputs: out.get('data', {}).pop('text/html', None)
    text, _ = MarkdownExporter().from_notebook_node(nb)
    text = re.sub(r'(\]\()((?:images/|[\w/]+\.(?:ipynb|qmd)))', r'\1nbs/\2', text)
    return NOTICE + re.sub(r'\n{3,}', '\n\n', text).strip() + '\n'


if __name__ == '__main__': Path(sys.argv[1], 'README.md').write_text(readme(sys.argv[1]), encoding='utf-8')
