"""Take the export cell out of the notebooks in a folder: only the repository can run it."""
import json
import sys
from pathlib import Path

for path in Path(sys.argv[1]).rglob('*.ipynb'):
    notebook = json.loads(path.read_text(encoding='utf-8'))
    notebook['cells'] = [o for o in notebook['cells'] if 'nbdev_export()' not in ''.join(o['source'])]
    path.write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + '\n', encoding='utf-8')
