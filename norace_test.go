//go:build !race

package wspush_test

const raced = false
