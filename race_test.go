//go:build race

package wspush_test

// raced says that the race detector is at work, which allocates, and makes stacks larger.
const raced = true
