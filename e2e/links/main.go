//go:build linux

// Command links tests the links between workers against what the project did not write: reverse proxies between the workers,
// signals of the operating system, and strangers at a worker's address. Workers are processes of their own. It prints
// "ok - WHAT" or "not ok - WHAT" for each check. See ../README.md.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	var err error
	if len(os.Args) == 2 && os.Args[1] == roleWorker {
		err = serveWorker()
	} else {
		err = test(os.Args[1:])
	}
	if err != nil {
		log.Fatal("links: ", err)
	}
}

// limit bounds the whole run.
const limit = 100 * time.Second

// scenarios are what is tested, by name. They run side by side.
var scenarios = map[string]func(*scene){
	"nginx":                       func(s *scene) { s.throughProxy(nginx) },
	"HAProxy":                     func(s *scene) { s.throughProxy(haproxy) },
	"Caddy":                       func(s *scene) { s.throughProxy(caddy) },
	"no WebSockets through nginx": (*scene).noSockets,
	"a stopped worker":            (*scene).stopped,
	"a killed worker":             (*scene).killed,
	"a stranger at the port":      (*scene).replaced,
	"mutual TLS":                  (*scene).mutualTLS,
}

// test runs the scenarios whose names contain one of the given words, or all.
func test(words []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	site, err := newSite()
	if err != nil {
		return err
	}
	defer site.close()
	var all sync.WaitGroup
	for name, run := range scenarios {
		if !isWanted(name, words) {
			continue
		}
		s := &scene{site: site, ctx: ctx, name: name, dir: site.dir + "/" + strings.ReplaceAll(name, " ", "-")}
		all.Go(func() {
			defer s.close()
			if err := os.Mkdir(s.dir, 0o700); err != nil {
				s.check("it starts", err)
				return
			}
			run(s)
		})
	}
	all.Wait()
	if site.failed.Load() {
		return fmt.Errorf("something failed")
	}
	return ctx.Err()
}

func isWanted(name string, words []string) bool {
	for _, w := range words {
		if strings.Contains(name, w) {
			return true
		}
	}
	return len(words) == 0
}
