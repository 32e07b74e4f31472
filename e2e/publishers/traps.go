package main

// trap is a row of the page's last table.
type trap struct{ user, userColon, arrives, sends string }

// trapProgram posts its second argument to its first in the shortest way, and prints the status, or fails.
type trapProgram struct {
	file, text       string
	prepare, command []string // prepare is run once, before
}

// trapPrograms has them by the name of their row.
var trapPrograms = map[string]trapProgram{
	"curl": {"curl.sh", `curl -s -o /dev/null -w '%{http_code}' -d "$2" "$1"`, nil, []string{"bash", "curl.sh"}},
	"requests, str": {"requests_str.py", `import requests, sys
print(requests.post(sys.argv[1], data=sys.argv[2]).status_code)
`, nil, []string{"/usr/bin/python3", "requests_str.py"}},
	"requests, bytes": {"requests_bytes.py", `import requests, sys
print(requests.post(sys.argv[1], data=sys.argv[2].encode()).status_code)
`, nil, []string{"/usr/bin/python3", "requests_bytes.py"}},
	"httpx": {"httpx_str.py", `import httpx, sys
print(httpx.post(sys.argv[1], content=sys.argv[2]).status_code)
`, nil, []string{"/usr/bin/python3", "httpx_str.py"}},
	"aiohttp, str":   {"aiohttp_str.py", aiohttpTrap(`sys.argv[2]`), nil, []string{"/usr/bin/python3", "aiohttp_str.py"}},
	"aiohttp, bytes": {"aiohttp_bytes.py", aiohttpTrap(`sys.argv[2].encode()`), nil, []string{"/usr/bin/python3", "aiohttp_bytes.py"}},
	"Node, fetch": {"fetch.mjs", `console.log((await fetch(process.argv[2], { method: 'POST', body: process.argv[3] })).status);
`, nil, []string{"node", "fetch.mjs"}},
	"PHP, curl": {"curl.php", `<?php
$curl = curl_init($argv[1]);
curl_setopt_array($curl, [CURLOPT_POSTFIELDS => $argv[2], CURLOPT_RETURNTRANSFER => true]);
curl_exec($curl) === false && exit(1);
echo curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
`, nil, []string{"php", "curl.php"}},
	"PHP, file_get_contents": {"stream.php", `<?php
$body = @file_get_contents($argv[1], false, stream_context_create(['http' => ['method' => 'POST', 'content' => $argv[2], 'ignore_errors' => true]]));
isset($http_response_header) || exit(1);
echo substr($http_response_header[0], 9, 3);
`, nil, []string{"php", "stream.php"}},
	"Ruby, Net::HTTP.post": {"post.rb", `require 'net/http'
puts Net::HTTP.post(URI(ARGV[0]), ARGV[1]).code
`, nil, []string{"ruby", "post.rb"}},
	"Java, java.net.http": {"Client.java", `import java.net.URI;
import java.net.http.*;

public class Client {
    public static void main(String[] args) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(args[0])).POST(HttpRequest.BodyPublishers.ofString(args[1])).build();
        System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).statusCode());
    }
}
`, []string{"javac", "Client.java"}, []string{"java", "Client"}},
	"Java, HttpURLConnection": {"Old.java", `import java.net.*;

public class Old {
    public static void main(String[] args) throws Exception {
        var connection = (HttpURLConnection) new URL(args[0]).openConnection();
        connection.setDoOutput(true);
        connection.getOutputStream().write(args[1].getBytes());
        System.out.println(connection.getResponseCode());
    }
}
`, []string{"javac", "Old.java"}, []string{"java", "Old"}},
	"Perl, HTTP::Tiny": {"tiny.pl", `use HTTP::Tiny;
my $answer = HTTP::Tiny->new->post($ARGV[0], { content => $ARGV[1] });
die $answer->{content} if $answer->{status} == 599;
print $answer->{status};
`, nil, []string{"perl", "tiny.pl"}},
}

func aiohttpTrap(message string) string {
	return `import aiohttp, asyncio, sys

async def main():
    async with aiohttp.ClientSession() as session, session.post(sys.argv[1], data=` + message + `) as r:
        print(r.status)

asyncio.run(main())
`
}
