// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package inuse_test

import (
	"fmt"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/internal/controller/inuse"
	"github.com/valetkey/valetkey/internal/live"
	"github.com/valetkey/valetkey/internal/live/livetest"
)

// TestController_ManyLargeRequestsFillNoMemory has a namespace with sixteen requests, and as many grants, that have ended and are as
// large as the API server stores.
func TestController_ManyLargeRequestsFillNoMemory(t *testing.T) {
	var all []client.Object
	for i := range 16 {
		r, g := request(true), grant(true)
		r.Name, g.Name = fmt.Sprint("r", i), fmt.Sprint("g", i)
		all = append(all, r, g)
	}
	c := stored(t, namespace(true))
	meter := livetest.NewMeter(livetest.New(t, all...))
	if _, err := (&inuse.Controller{Client: c, Live: live.New(meter), Marks: &inuse.Marks{}}).Reconcile(t.Context(), key()); err != nil {
		t.Fatal(err)
	}
	if marked(t, c) {
		t.Error("the mark stays")
	}
	if most := meter.MiB(); most > 12 {
		t.Errorf("they take %d MiB", most)
	}
}

// TestController_SeesTheOneThatLivesOnTheLastPage has a request that lives behind many that have ended.
func TestController_SeesTheOneThatLivesOnTheLastPage(t *testing.T) {
	var all []client.Object
	for i := range 9 {
		r := request(i < 8)
		r.Name = fmt.Sprint("r", i)
		all = append(all, r)
	}
	c := stored(t, namespace(true))
	if _, err := (&inuse.Controller{Client: c, Live: live.New(livetest.New(t, all...)), Marks: &inuse.Marks{}}).Reconcile(t.Context(), key()); err != nil {
		t.Fatal(err)
	}
	if !marked(t, c) {
		t.Error("the mark is gone, and a request lives")
	}
}
