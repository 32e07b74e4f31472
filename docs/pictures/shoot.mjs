// Screenshots for the documentation, in light and dark: shoot.mjs NAME URL [SCENE]
// makes NAME-light.png and NAME-dark.png in this folder, of the page at URL in headless Chromium. SCENE is a module here that says how
// large the picture is, what is done before it is taken, and of what it is; NAME.mjs, if there is one. Needs `npm ci` in e2e.
import { execFile, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { promisify } from 'node:util';

const { chromium } = createRequire(new URL('../../e2e/package.json', import.meta.url))('playwright-core');

const [name, url, scene = `${name}.mjs`] = process.argv.slice(2);
if (!url) throw new Error('usage: shoot.mjs NAME URL [SCENE]');

// A scene exports width and height, and act(page, run), in which run(PROGRAM, ARGUMENTS...) runs a program to its end.
const file = new URL(scene, import.meta.url);
const { width = 800, height = 600, act } = existsSync(file) ? await import(file) : {};
const run = (program, ...args) => promisify(execFile)(program, args, { timeout: 10_000 });

const browser = await chromium.launch({
  executablePath: execFileSync('bash', ['-c', 'command -v chromium']).toString().trim(),
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
try {
  for (const colorScheme of ['light', 'dark']) {
    const page = await browser.newPage({ viewport: { width, height }, colorScheme, reducedMotion: 'reduce' });
    page.setDefaultTimeout(20_000);
    await page.goto(url);
    await act?.(page, run);
    await page.screenshot({ path: new URL(`${name}-${colorScheme}.png`, import.meta.url).pathname });
    await page.close();
  }
} finally {
  await browser.close();
}
