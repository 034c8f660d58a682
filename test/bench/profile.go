// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/valetkey/valetkey/test/bench/sample"
)

// profiledSeconds is how long processor time is sampled, from the beginning of a step.
const profiledSeconds = 8

// profile takes profiles of the operator during a step, and of the API server's processor time. What it returns waits for them, and takes those that
// are of one moment.
func (t *turn) profile(ctx context.Context, m measured) func() error {
	if m.unprofiled || t.operator == nil || t.operator.Profile() == "" {
		return func() error { return nil }
	}
	base := filepath.Join(t.out, "profiles", t.prefix+"-"+m.step)
	var mu sync.Mutex
	var taking sync.WaitGroup
	var errs error
	take := func(name string, get func() ([]byte, error)) {
		text, err := get()
		if err == nil {
			err = errors.Join(os.MkdirAll(filepath.Dir(base), 0o755), os.WriteFile(base+"-"+name+".pprof", text, 0o644))
		}
		mu.Lock()
		defer mu.Unlock()
		errs = errors.Join(errs, err)
	}
	operators := func(path string) func() ([]byte, error) {
		return func() ([]byte, error) { return sample.Fetch(ctx, "http://"+t.operator.Profile()+"/debug/pprof/"+path) }
	}
	taking.Go(func() { take("cpu", operators(fmt.Sprintf("profile?seconds=%d", profiledSeconds))) })
	taking.Go(func() {
		take("apiserver-cpu", func() ([]byte, error) {
			return t.Clients.CoreV1().RESTClient().Get().AbsPath("/debug/pprof/profile").Param("seconds", fmt.Sprint(profiledSeconds)).DoRaw(ctx)
		})
	})
	return func() error {
		taking.Wait()
		for _, name := range []string{"heap", "allocs", "mutex", "block", "goroutine"} {
			take(name, operators(name))
		}
		return errs
	}
}
