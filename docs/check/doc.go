// Package check tests the documentation: every code block stands in a file that is compiled, run or used; every command prints
// what the page shows; every link leads somewhere. README.md says how to write pages for it.
package check
