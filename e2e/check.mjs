// Result lines and deadlines, for the programs that e2e/run starts.

// check runs one step and prints its result line. A failed step ends the program, since later ones build on it.
export async function check(what, step) {
  try {
    await step();
    console.log(`ok - ${what}`);
  } catch (err) {
    console.log(`not ok - ${what}`);
    console.log(err.message);
    process.exit(0); // the line above reports it
  }
}

// within returns promise, rejected if it is not settled in time.
export async function within(seconds, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${seconds} s`)), seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

// pathForm returns an address in its other form, since fetch refuses URLs with userinfo.
export function pathForm(address) {
  const { protocol, host, pathname, username } = new URL(address);
  return `${protocol}//${host}${pathname}/@connections/${username}`;
}

// push returns the status of a push.
export async function push(address, body, type) {
  return (await post(pathForm(address), body, type)).status;
}

// confirmed returns the status of a push with confirm=received, and 'rtt' if the answer has a round trip.
export async function confirmed(address, body) {
  const answer = await post(`${pathForm(address)}?confirm=received`, body, 'text/plain');
  return `${answer.status} ${/^\d+\.\d{3}$/.test(answer.headers.get('Wspush-Rtt')) ? 'rtt' : ''}`;
}

function post(url, body, type) {
  return fetch(url, { method: 'POST', body, headers: { 'Content-Type': type }, signal: AbortSignal.timeout(10_000) });
}

// skip prints why a step is not run.
export function skip(what, why) {
  console.log(`skip - ${what}: ${why}`);
}
