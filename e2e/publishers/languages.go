package main

// language is how code from the page is run.
type language struct {
	file    string    // what the page's code is written to
	head    string    // before it
	tail    string    // after it: calls its functions for each four arguments KIND TO QUERY MESSAGE, and prints OUTCOME BODY on a line each
	others  [2]string // another file: name, text
	prepare []string  // a command that has to run first
	command []string
}

// languages has the code on the page, by client.
var languages = map[string]language{
	"requests": {file: "with_requests.py", tail: pythonTail, command: []string{"/usr/bin/python3", "with_requests.py"}},
	"httpx":    {file: "with_httpx.py", tail: pythonTail, command: []string{"/usr/bin/python3", "with_httpx.py"}},
	"aiohttp":  {file: "with_aiohttp.py", tail: aiohttpTail, command: []string{"/usr/bin/python3", "with_aiohttp.py"}},
	"js":       {file: "publisher.mjs", tail: nodeTail, command: []string{"node", "publisher.mjs"}},
	"php":      {file: "publisher.php", head: "<?php\n", tail: phpTail, command: []string{"php", "publisher.php"}},
	"ruby":     {file: "publisher.rb", tail: rubyTail, command: []string{"ruby", "-W", "publisher.rb"}},
	"java": {file: "Publisher.java", others: [2]string{"Main.java", javaMain}, prepare: []string{"javac", "-Xlint", "Publisher.java", "Main.java"},
		command: []string{"java", "Main"}},
	"bash": {file: "publisher.sh", tail: bashTail, command: []string{"bash", "publisher.sh"}},
}

const pythonTail = `
import sys
for kind, to, query, message in zip(*[iter(sys.argv[1:])] * 4):
    try:
        url = user(to) if kind == "user" else target(to) if kind == "to" else to
    except ValueError as e:
        print("rejected", e)
        continue
    word, body = push(url + query, message)
    print(word, body.replace("\n", " "))
`

const aiohttpTail = `
import sys

async def main():
    async with aiohttp.ClientSession() as session:
        for kind, to, query, message in zip(*[iter(sys.argv[1:])] * 4):
            try:
                url = user(to) if kind == "user" else target(to) if kind == "to" else to
            except ValueError as e:
                print("rejected", e)
                continue
            word, body = await push(session, url + query, message)
            print(word, body.replace("\n", " "))

asyncio.run(main())
`

const nodeTail = `
const args = process.argv.slice(2);
while (args.length) {
  const [kind, to, query, message] = args.splice(0, 4);
  try {
    const url = kind === 'user' ? user(to) : kind === 'to' ? target(to) : to;
    const [word, body] = await push(url + query, message);
    console.log(word, body.replaceAll('\n', ' '));
  } catch (e) {
    console.log('rejected', e.message);
  }
}
`

const phpTail = `
error_reporting(E_ALL);
foreach (array_chunk(array_slice($argv, 1), 4) as [$kind, $to, $query, $message]) {
    try {
        $url = $kind === 'user' ? user($to) : ($kind === 'to' ? target($to) : $to);
        [$word, $body] = push($url . $query, $message);
        echo $word, ' ', strtr($body, "\n", ' '), "\n";
    } catch (InvalidArgumentException $e) {
        echo 'rejected ', $e->getMessage(), "\n";
    }
}
`

const rubyTail = `
ARGV.each_slice(4) do |kind, to, query, message|
  url = kind == 'user' ? user(to) : kind == 'to' ? target(to) : to
  word, body = push(url + query, message)
  puts "#{word} #{body.gsub("\n", ' ')}"
rescue ArgumentError => e
  puts "rejected #{e.message}"
end
`

const javaMain = `
public class Main {
    public static void main(String[] args) throws Exception {
        for (int i = 0; i < args.length; i += 4) {
            try {
                String url = args[i].equals("user") ? Publisher.user(args[i + 1]) : args[i].equals("to") ? Publisher.target(args[i + 1]) : args[i + 1];
                var outcome = Publisher.push(url + args[i + 2], args[i + 3]);
                System.out.println(outcome.word() + " " + outcome.body().replace("\n", " "));
            } catch (IllegalArgumentException e) {
                System.out.println("rejected " + e.getMessage());
            }
        }
    }
}
`

const bashTail = `
set -u
while [ $# != 0 ]; do
  case $1 in
  user) url=$(user "$2") ;;
  to) url=$(target "$2" 2>&1) || { echo "rejected $url"; shift 4; continue; } ;;
  *) url=$2 ;;
  esac
  said=$(printf %s "$4" | push "$url$3" 2>/dev/null)
  printf '%s\n' "${said//$'\n'/ }"
  shift 4
done
`
