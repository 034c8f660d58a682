// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fake is a back end in memory, for tests of what uses one. It passes the conformance suite of the real ones.
package fake

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

// Operation is what a back end was asked.
type Operation string

const (
	// Issue is a call of Issue.
	Issue Operation = "Issue"
	// Revoke is a call of Revoke.
	Revoke Operation = "Revoke"
)

// Call is one question that the back end was asked.
type Call struct {
	// Operation that was called.
	Operation Operation
	// Session of the lease.
	Session string
	// TTL of the lease; zero for Revoke.
	TTL time.Duration
}

// Provider is the back end. It takes the place of AWS in a provider.Set.
type Provider struct {
	clock   clock.PassiveClock
	mode    v1alpha1.RevocationMode
	minimum time.Duration

	mu     sync.Mutex
	broken bool
	next   []error
	calls  []Call
	// works holds until when each credential works, by its ID.
	works map[string]time.Time
	// scopes holds what each credential is good for, by its ID.
	scopes map[string]string
}

// New makes a back end whose credentials live for minimum at least, and that revokes them in the given way.
func New(clock clock.PassiveClock, minimum time.Duration, mode v1alpha1.RevocationMode) *Provider {
	return &Provider{clock: clock, minimum: minimum, mode: mode, works: map[string]time.Time{}, scopes: map[string]string{}}
}

// NextErr makes the next calls fail, one each: nil lets its call succeed.
func (p *Provider) NextErr(errs ...error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = append(p.next, errs...)
}

// Break makes every call fail from now on, or none.
func (p *Provider) Break(broken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = broken
}

// Calls are all calls since the last Reset.
func (p *Provider) Calls() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// Reset forgets calls, errors to come and credentials.
func (p *Provider) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next, p.calls, p.works = nil, nil, map[string]time.Time{}
}

// Works reports whether the back end accepts the credential of that ID now.
func (p *Provider) Works(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.clock.Now().Before(p.works[id])
}

// Working is how many credentials the back end accepts now.
func (p *Provider) Working() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, until := range p.works {
		if p.clock.Now().Before(until) {
			n++
		}
	}
	return n
}

// Does reports whether the back end lets the credential of that ID do something now: "action on resource", as a scope says it.
func (p *Provider) Does(id, what string) bool {
	works := p.Works(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	return works && slices.Contains(strings.Split(p.scopes[id], "\n"), what)
}

// Type is that of AWS.
func (*Provider) Type() string { return provider.TypeAWS }

// CheckProvider finds nothing wrong.
func (*Provider) CheckProvider(*v1alpha1.CapabilityProvider) error { return nil }

// CheckCapability wants a scope.
func (p *Provider) CheckCapability(ctx context.Context, c *v1alpha1.Capability, _ *v1alpha1.CapabilityProvider) error {
	if _, err := p.Render(ctx, c, provider.Longest(c)); err != nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonScopeInvalid, Message: err.Error()}
	}
	return nil
}

// Render fills in the values.
func (*Provider) Render(_ context.Context, c *v1alpha1.Capability, v provider.Values) (provider.Scope, error) {
	if c.Spec.AWS == nil || len(c.Spec.AWS.Scope) == 0 {
		return provider.Scope{}, fmt.Errorf("capability %s has no scope", c.Name)
	}
	if err := v.Check(c); err != nil {
		return provider.Scope{}, err
	}
	fill := v.Fill()
	scope := provider.Scope{Principal: c.Spec.AWS.RoleARN}
	for _, s := range c.Spec.AWS.Scope {
		scope.Actions = append(scope.Actions, s.Actions...)
		scope.Lines = append(scope.Lines, fill.Replace(strings.Join(s.Actions, ",")+" on "+strings.Join(s.Resources, ",")))
	}
	scope.Document = strings.Join(scope.Lines, "\n")
	return scope, nil
}

// Lifetime is the TTL, or the minimum.
func (p *Provider) Lifetime(l provider.Lease) (time.Duration, bool) {
	return max(l.TTL, p.minimum), true
}

// Handle is of no use here.
func (*Provider) Handle(provider.Lease) string { return "" }

// Issue makes a credential whose ID is told by its session. The same session gets another credential each time.
func (p *Provider) Issue(ctx context.Context, l provider.Lease) (*provider.Credential, error) {
	scope, err := p.Render(ctx, l.Capability, l.Values)
	if err != nil {
		return nil, provider.NotAsked(provider.Final, err.Error())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.called(ctx, Call{Operation: Issue, Session: l.Session(), TTL: l.TTL}); err != nil {
		return nil, err
	}
	id := fmt.Sprintf("FAKE-%s-%d", l.Session(), len(p.calls))
	p.works[id], p.scopes[id] = p.clock.Now().Add(max(l.TTL, p.minimum)), scope.Document
	secret := fmt.Sprintf("secret %x", sha256.Sum256([]byte(id)))
	return provider.NewCredential(provider.CredentialFields{
		ID: id, Principal: scope.Principal + "/" + l.Session(), ExpiresAt: p.works[id], Secrets: []string{secret},
		Files:    map[string]string{"fake/credential": secret},
		Pointers: map[string]string{"FAKE_CREDENTIAL_FILE": v1alpha1.MountPath + "/fake/credential"},
	})
}

// Revoke ends the credential, if this back end can.
func (p *Provider) Revoke(ctx context.Context, i provider.Issued) (provider.Revoked, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.called(ctx, Call{Operation: Revoke, Session: provider.Lease{ID: i.ID, Attempt: i.Attempts}.Session()}); err != nil {
		return provider.Revoked{}, err
	}
	if p.mode != v1alpha1.RevocationImmediate {
		return provider.Revoked{Mode: p.mode}, nil
	}
	for _, session := range i.Sessions() {
		maps.DeleteFunc(p.works, func(id string, _ time.Time) bool { return strings.HasPrefix(id, "FAKE-"+session+"-") })
	}
	return provider.Revoked{Mode: p.mode}, nil
}

// called remembers a call and says how it fails.
func (p *Provider) called(ctx context.Context, c Call) error {
	p.calls = append(p.calls, c)
	if ctx.Err() != nil {
		return provider.Unanswered(provider.Retryable, "the fake was not waited for")
	}
	if p.broken {
		return provider.Unanswered(provider.Retryable, "the fake is down")
	}
	if len(p.next) == 0 {
		return nil
	}
	err := p.next[0]
	p.next = p.next[1:]
	return err
}
