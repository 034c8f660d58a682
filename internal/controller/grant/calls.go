// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/valetkey/valetkey/internal/provider"
)

const (
	// mostCalls is how many credentials are asked for at the same time of each provider, of which one capability has half
	// at the most. One that is slow, or down, then takes no more of the operator's memory and connections than that.
	mostCalls = 64
	// turnWithin is how long an attempt waits for its turn. What a back end is asked for has to come within a minute of
	// the attempt's beginning, for that is what is recorded as the last instant at which it can work.
	turnWithin = 15 * time.Second
)

const (
	// mostRevocations is how many revocations are asked for at the same time of each provider, of which one capability has
	// half at the most, and for each namespace, of which one provider has half: each holds one of the workers that look at
	// grants, of which back ends that hang must not take all, nor all that a namespace has.
	mostRevocations = 16
	// revokeTurn is how long a revocation waits for its turn, and then stands aside.
	revokeTurn = 2 * time.Second
)

// calls bounds the calls to each provider, by its name.
type calls struct {
	mu       sync.Mutex
	issuing  map[string]*shares
	revoking map[string]*shares
	// ending are the revocations of each namespace.
	ending map[string]*shares
}

// issue asks a back end for a credential. It can be called from many goroutines.
func (c *calls) issue(ctx context.Context, backend provider.Provider, lease provider.Lease) (*provider.Credential, error) {
	of := caller{capability: lease.Capability.Name, namespace: lease.Values.Namespace}
	shares := c.shares(&c.issuing, lease.Provider.Name, mostCalls)
	waiting, cancel := context.WithTimeout(ctx, turnWithin)
	defer cancel()
	if err := shares.acquire(waiting, of); err != nil {
		return nil, provider.NotAsked(provider.Retryable, fmt.Sprintf(
			"provider %s is being asked for as many credentials of capability %s as go at once, and answers slowly; "+
				"nothing was asked for this one", lease.Provider.Name, of.capability))
	}
	defer shares.release(of)
	return issue(ctx, backend, lease)
}

// revoke asks a back end to end a credential of a provider, by its name.
func (c *calls) revoke(
	ctx context.Context, backend provider.Provider, name string, of caller, issued provider.Issued,
) (provider.Revoked, error) {
	later := &provider.Error{Class: provider.Retryable, RetryAfter: revokeTurn, Message: fmt.Sprintf(
		"provider %s is being asked for as many revocations of capability %s as go at once, and answers slowly", name, of.capability)}
	waiting, cancel := context.WithTimeout(ctx, revokeTurn)
	defer cancel()
	namespace, here := c.shares(&c.ending, of.namespace, mostRevocations), caller{capability: name, namespace: of.namespace}
	if namespace.acquire(waiting, here) != nil {
		return provider.Revoked{}, later
	}
	defer namespace.release(here)
	shares := c.shares(&c.revoking, name, mostRevocations)
	if shares.acquire(waiting, of) != nil {
		return provider.Revoked{}, later
	}
	defer shares.release(of)
	return backend.Revoke(ctx, issued)
}

func (c *calls) shares(all *map[string]*shares, of string, most int) *shares {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *all == nil {
		*all = map[string]*shares{}
	}
	if (*all)[of] == nil {
		(*all)[of] = newShares(most)
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
		credential, err = nil, provider.Unanswered(provider.Retryable, fmt.Sprintf(
			"the operator has a fault in the back end %s; its log has the place, and a report of it is welcome", backend.Type()))
	}()
	return backend.Issue(ctx, lease)
}
