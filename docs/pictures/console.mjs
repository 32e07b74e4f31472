// The console of examples/console, after three minutes: the light picture shows who does not read, the dark one a client that has
// been pushed to. With `go run ./examples/console` running: node docs/pictures/shoot.mjs console "LINK IT PRINTS"
// and then pngquant --force --strip --speed 1 --ext .png docs/pictures/console-*.png
export const width = 1200;
export const height = 760;

export async function act(page) {
  await page.locator('#status[data-state=live]').waitFor();
  // The charts fill while the page is open; the second page gets what the first has seen.
  await page.locator('figure .range', { hasText: 'last 3 min' }).first().waitFor({ timeout: 240_000 });
  if (await page.evaluate(() => matchMedia('(prefers-color-scheme: light)').matches)) {
    await page.getByRole('button', { name: 'Pending' }).click();
    await page.locator('td.pending[data-some]').first().waitFor();
    await page.waitForTimeout(2500); // until the charts have it
    return;
  }
  await page.getByRole('button', { name: 'Round trip' }).click();
  await page.locator('table[aria-busy=false]').waitFor();
  await page.locator('tbody tr').nth(6).click();
  await page.getByLabel('Push a message').fill('Your order has shipped');
  await page.getByRole('button', { name: 'Push', exact: true }).click();
  await page.locator('#outcome[data-of=good]').waitFor();
}
