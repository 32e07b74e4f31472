package address

import "testing"

func TestCheckPath(t *testing.T) {
	for path, fine := range map[string]bool{
		"": true, "/": true, "/ws": true, "/a//b/": true, "/a%2fb%2C;x=1/%C3%A9": true, "/...": true, "/%2e%2e%2e": true, "/a%252e%252e": true, "/.well-known/x..y": true, "/@x:[y]": true,
		"/.": false, "/..": false, "/a/./b": false, "/a/../b": false, "/%2e%2E/b": false, "/.%2e": false, "/x%2f..%2fy": false, "/..;a=b": false,
		"/a\\b": false, "/a%5cb": false, "/a%0ab": false, "/a%00": false, "/a%7f": false, "/a b": false, "/a\"b": false, "/ü": false, "/a?b": false, "/a,b": false,
		"/%": false, "/%4": false, "/%zz": false, "/%+1": false,
	} {
		if err := CheckPath(path); (err == nil) != fine {
			t.Errorf("%q: %v", path, err)
		}
	}
}
