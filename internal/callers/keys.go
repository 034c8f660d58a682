// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package callers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
)

// The API server serves these paths to whoever has the role, which every ServiceAccount has by default.
const (
	discoveryRole = "system:service-account-issuer-discovery"
	discoveryPath = "/.well-known/openid-configuration"
	keysPath      = "/openid/v1/jwks"
)

// refreshEvery is how often the API server's keys are read. Nothing that anybody sends makes them be read more often.
const (
	refreshEvery = time.Minute
	retrySoonest = time.Second
)

// Keys are the keys by which the API server signs ServiceAccounts' tokens, as it publishes them.
type Keys struct {
	get   Get
	clock clock.WithTicker
	log   logr.Logger
	known atomic.Pointer[published]
}

// published is what was read last.
type published struct {
	issuer string
	keys   jose.JSONWebKeySet
}

// Get reads a path of the API server.
type Get func(ctx context.Context, path string) ([]byte, error)

// NewKeys knows none until Run has read them.
func NewKeys(get Get, clock clock.WithTicker, log logr.Logger) *Keys {
	return &Keys{get: get, clock: clock, log: log}
}

// Run reads the keys, again and again, until the context ends. Keys that were read stay known while they cannot be
// read anew: whoever they let pass is asked about all the same.
func (k *Keys) Run(ctx context.Context) {
	pause, said := retrySoonest, ""
	for {
		problem := ""
		if err := k.refresh(ctx); err != nil {
			problem, pause = err.Error(), min(2*pause, refreshEvery)
		} else {
			pause = refreshEvery
		}
		if problem != said && ctx.Err() == nil {
			k.log.Info("reading the API server's token keys", "problem", problem, "known", k.known.Load() != nil)
		}
		said = problem
		timer := k.clock.NewTimer(pause)
		select {
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (k *Keys) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, refreshEvery/2)
	defer cancel()
	var configuration struct {
		Issuer string `json:"issuer"`
	}
	found := &published{}
	if err := k.read(ctx, discoveryPath, &configuration); err != nil {
		return err
	}
	if err := k.read(ctx, keysPath, &found.keys); err != nil {
		return err
	}
	if found.issuer = configuration.Issuer; found.issuer == "" || len(found.keys.Keys) == 0 {
		return errors.New("the API server names no issuer, or no keys")
	}
	k.known.Store(found)
	return nil
}

func (k *Keys) read(ctx context.Context, path string, into any) error {
	text, err := k.get(ctx, path)
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("the operator may not get %s: bind it the ClusterRole %s", path, discoveryRole)
	case err != nil:
		reason := cmp.Or(string(apierrors.ReasonForError(err)), "no connection")
		return fmt.Errorf("the API server does not answer for %s: %s", path, reason)
	case json.Unmarshal(text, into) != nil:
		return fmt.Errorf("what the API server answers for %s cannot be read", path)
	}
	return nil
}
