//go:build race

package main

// resident memory is mostly the race detector's own when there is one.
const judgeResident = false
