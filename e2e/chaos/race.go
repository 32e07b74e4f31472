//go:build race

package main

// Under the race detector, resident memory is mostly the detector's own.
const judgeResident = false
