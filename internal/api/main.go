// Command api compares the exported API of the public packages with what is recorded in the folder api, and looks for exported
// identifiers without a comment. Run it in the root of the repository:
//
//	go run ./internal/api           # compare: what CI does
//	go run ./internal/api -write    # record what there is, once it is meant
//
// The record has one line for each identifier, field and method, so that a change of what applications depend on shows in a
// commit as such. golang.org/x/exp's apidiff judges whether a change is compatible, but what it records is not for people to
// read. No public package differs between systems; CI compares on three of them.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	write := flag.Bool("write", false, "record the API as it is")
	flag.Parse()
	// The modules that applications may depend on. The others are tests, measurements and examples.
	findings, err := check(".", []string{".", "prometheus"}, *write)
	if err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(2)
	}
	for _, finding := range findings {
		fmt.Println(finding)
	}
	if len(findings) > 0 {
		os.Exit(1)
	}
}
