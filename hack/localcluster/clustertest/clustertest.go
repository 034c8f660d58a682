// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package clustertest gives a test a cluster of its own.
package clustertest

import (
	"bytes"
	"context"
	"testing"

	"github.com/valetkey/valetkey/hack/localcluster"
)

// Start starts a cluster, which stops with the test. What it says of its progress is shown where o has a writer for
// it, or if it fails.
func Start(t testing.TB, o localcluster.Options) *localcluster.Cluster {
	t.Helper()
	var progress bytes.Buffer
	if o.Progress == nil {
		o.Progress = &progress
	}
	cluster, err := localcluster.Start(t.Context(), o)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	t.Cleanup(func() {
		if err := cluster.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return cluster
}
