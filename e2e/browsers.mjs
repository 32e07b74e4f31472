// The browsers, as Debian has them.
import { execFileSync } from 'node:child_process';
import { chromium, firefox } from 'playwright-core';

const pathOf = (name) => execFileSync('bash', ['-c', `command -v ${name}`]).toString().trim();

export const launch = {
  Chromium: () => chromium.launch({
    executablePath: pathOf('chromium'),
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  }),
  // By WebDriver BiDi: Playwright's is a build of its own, which cannot be had from a package registry.
  Firefox: () => firefox.launch({ channel: 'moz-firefox', executablePath: pathOf('firefox-esr') }),
};
