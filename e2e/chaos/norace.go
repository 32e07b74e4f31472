//go:build !race

package main

const judgeResident = true
