// Package snippets holds the Go code of the documentation's pages as tests, a file for each page: what a page shows is compiled and
// run here, and found here by docs/check.
package snippets
