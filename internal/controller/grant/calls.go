// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/valetkey/valetkey/internal/provider"
)

const (
	// mostCalls is how many credentials are asked for at the same time of each provider. One that is slow, or down, then
	// takes no more of the operator's memory and connections than that.
	mostCalls = 32
	// turnWithin is how long an attempt waits for its turn. What a back end is asked for has to come within a minute of
	// the attempt's beginning, for that is what is recorded as the last instant at which it can work.
	turnWithin = 15 * time.Second
)

const (
	// mostRevocations is how many revocations are asked for at the same time of each provider: each holds one of the
	// workers that look at grants, of which a back end that hangs must not take all.
	mostRevocations = 16
	// revokeTurn is how long a revocation waits for its turn, and then stands aside.
	revokeTurn = 2 * time.Second
)

// calls bounds the calls to each provider, by its name.
type calls struct {
	mu       sync.Mutex
	issuing  map[string]*semaphore.Weighted
	revoking map[string]*semaphore.Weighted
}

// issue asks a back end for a credential. It can be called from many goroutines.
func (c *calls) issue(ctx context.Context, backend provider.Provider, lease provider.Lease) (*provider.Credential, error) {
	turns := c.turns(&c.issuing, lease.Provider.Name, mostCalls)
	waiting, cancel := context.WithTimeout(ctx, turnWithin)
	defer cancel()
	if err := turns.Acquire(waiting, 1); err != nil {
		return nil, &provider.Error{Class: provider.Retryable, Refused: true, Message: fmt.Sprintf(
			"provider %s is being asked for %d credentials, and answers slowly; nothing was asked for this one", lease.Provider.Name, mostCalls)}
	}
	defer turns.Release(1)
	return issue(ctx, backend, lease)
}

// revoke asks a back end to end a credential.
func (c *calls) revoke(ctx context.Context, backend provider.Provider, name string, issued provider.Issued) (provider.Revoked, error) {
	turns := c.turns(&c.revoking, name, mostRevocations)
	waiting, cancel := context.WithTimeout(ctx, revokeTurn)
	defer cancel()
	if err := turns.Acquire(waiting, 1); err != nil {
		return provider.Revoked{}, &provider.Error{Class: provider.Retryable, RetryAfter: revokeTurn, Message: fmt.Sprintf(
			"provider %s is being asked for %d revocations, and answers slowly", name, mostRevocations)}
	}
	defer turns.Release(1)
	return backend.Revoke(ctx, issued)
}

func (c *calls) turns(all *map[string]*semaphore.Weighted, of string, most int64) *semaphore.Weighted {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *all == nil {
		*all = map[string]*semaphore.Weighted{}
	}
	if (*all)[of] == nil {
		(*all)[of] = semaphore.NewWeighted(most)
	}
	return (*all)[of]
}

// issue turns a panic into a failed attempt, of which nobody knows whether anything was issued. What the panic says can
// hold what the back end answered: of it, only the places in the code are logged.
func issue(ctx context.Context, backend provider.Provider, lease provider.Lease) (credential *provider.Credential, err error) {
	defer func() {
		if recover() == nil {
			return
		}
		log.FromContext(ctx).Error(nil, "a back end panicked; the attempt has failed", "provider", lease.Provider.Name,
			"type", backend.Type(), "stack", string(debug.Stack()))
		credential, err = nil, &provider.Error{Class: provider.Retryable, Message: fmt.Sprintf(
			"the operator has a fault in the back end %s; its log has the place, and a report of it is welcome", backend.Type())}
	}()
	return backend.Issue(ctx, lease)
}
