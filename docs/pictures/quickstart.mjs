// The page of examples/quickstart, once it has been pushed to. With `go run ./examples/quickstart` running:
// node docs/pictures/shoot.mjs quickstart http://127.0.0.1:8080/
export const width = 800;
export const height = 528;

export async function act(page, run) {
  await page.locator('#status[data-state=open]').waitFor();
  const address = (await page.locator('#address').innerText()).trim();
  await run('curl', '-d', '123', address);
  await run('curl', '-d', 'Your order has shipped', `${address}?confirm=received`);
  await page.locator('#messages li').nth(1).waitFor();
}
