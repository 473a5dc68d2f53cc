"""The picture of the page that the notebook shows, of a synthetic photo in headless Chromium.

python benchmarks/page_picture.py
"""
import shutil
import threading
import time
from io import BytesIO
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from PIL import Image
from playwright.sync_api import sync_playwright

from anklealign.app.page import mount_page
from anklealign.deploy import Predictor

PICTURE, PORT = Path(__file__).parent.parent/'nbs'/'images'/'page.jpg', 8791


def taken(browser, example, **how):
    "What a window shows after an example was clicked."
    page = browser.new_page(**how)
    page.goto(f'http://127.0.0.1:{PORT}/')
    page.get_by_role('button', name=f'{example}').click()
    page.locator('.verdict').wait_for()
    page.wait_for_timeout(1000) # until it has scrolled there
    return Image.open(BytesIO(page.screenshot())).convert('RGB')


app = FastAPI()
mount_page(app, Predictor())
server = uvicorn.Server(uvicorn.Config(app, port=PORT, log_level='error'))
threading.Thread(target=server.run, daemon=True).start()
while not server.started: time.sleep(.1)
with sync_playwright() as playwright:
    chromium = playwright.chromium.launch(executable_path=shutil.which('chromium'), args=['--no-sandbox'])
    desktop = taken(chromium, 'Example 1', viewport={'width': 1120, 'height': 900}, locale='en')
    phone = taken(chromium, 'Példa 4', viewport={'width': 390, 'height': 840}, locale='hu', color_scheme='dark', has_touch=True)
server.should_exit = True
both = Image.new('RGB', (desktop.width + 24 + phone.width, desktop.height), 'white')
both.paste(desktop, (0, 0))
both.paste(phone, (desktop.width + 24, 0))
both.save(PICTURE, quality=52, optimize=True)
print(PICTURE.stat().st_size, 'bytes')
