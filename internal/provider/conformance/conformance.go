// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package conformance is what every back end must do, the fake too.
package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

// slack is how far the back end's clock and the test's may be apart.
const slack = 30 * time.Second

// Harness is a back end that is ready to issue, and what the suite must know about it.
type Harness struct {
	// Provider under test.
	Provider provider.Provider
	// Lease can be issued as it is. The suite gives it other IDs, attempts and TTLs.
	Lease provider.Lease
	// Clock that the back end's answers follow.
	Clock clock.PassiveClock
	// Unscope takes the scope out of a capability.
	Unscope func(*v1alpha1.Capability)
	// Works asks the back end whether it accepts a credential now.
	Works func(t *testing.T, c *provider.Credential) bool
	// Beyond asks the back end, with a credential that works, for what its scope does not say: the same for another repo, say.
	Beyond func(t *testing.T, c *provider.Credential) bool
	// Otherwise are other spellings of the lease's repo that mean the same to the back end. The suite itself tries it in
	// capitals.
	Otherwise []string
	// Throttle makes the back end throttle the next call.
	Throttle func(t *testing.T)
	// Break makes the back end answer nothing, or answer again.
	Break func(t *testing.T, broken bool)
	// Restart returns the back end as another process has it, which remembers nothing.
	Restart func(t *testing.T) provider.Provider
	// Secrets are all values so far that must be printed nowhere. None means that the suite has nothing to look for.
	Secrets func() []string
}

// suite is one test's own harness, and the handles that its leases have kept.
type suite struct {
	Harness
	kept *handles
}

// handles are stored as grants store them.
type handles struct {
	mu sync.Mutex
	of map[string]string
	// full stores nothing more.
	full bool
	// asked counts how often one was to be stored.
	asked int
}

func (h *handles) keep(lease, handle string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	if h.full {
		return errors.New("it cannot be stored")
	}
	h.of[lease] = handle
	return nil
}

func (h *handles) get(lease string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.of[lease]
}

// Run asks of a back end what is asked of all. Each test gets a harness of its own. The name says what is tested: the back end, and
// whether its far side is a real one or a stand-in.
func Run(t *testing.T, name string, start func(t *testing.T) Harness) {
	tests := []struct {
		name string
		run  func(t *testing.T, s suite)
	}{
		{"a credential works, and says who it is and until when", testIssue},
		{"nothing is issued without a scope", testScopeIsNeeded},
		{"a credential does no more than its scope says", testScopeIsKept},
		{"a value that could widen the scope is refused", testValuesCannotWiden},
		{"the same name in another spelling is refused, or is another thing", testOneSpelling},
		{"a TTL below the minimum is told truthfully", testShortTTL},
		{"two are issued at once, each its own", testTwoAtOnce},
		{"two attempts of one lease are told apart", testAttempts},
		{"revoking twice is harmless, and tells the truth", testRevoke},
		{"revoking what never was is harmless", testRevokeNothing},
		{"a caller who gave up gets nothing, and may try again", testCancelled},
		{"throttling is told apart", testThrottled},
		{"a back end that is down issues nothing, and confirms nothing", testDown},
		{"what a process issued before it died is ended by another", testRestart},
		{"what could not be ended again is not issued", testKeep},
		{"what is secret in it is scrubbed from the container's output", testSecretsAreTold},
		{"a credential is printed nowhere", testUnprintable},
	}
	t.Run(name, func(t *testing.T) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) { test.run(t, suite{start(t), &handles{of: map[string]string{}}}) })
		}
	})
}

// lease is the n-th of the suite's own.
func (s suite) lease(n int) provider.Lease {
	l := s.Lease
	l.ID, l.Attempt = fmt.Sprintf("00000000-0000-4000-8000-%012d", n), 1
	return l
}

// begin asks for an attempt as a controller does: what ending it needs is stored before, and whatever becomes known meanwhile.
func (s suite) begin(ctx context.Context, l provider.Lease) (*provider.Credential, error) {
	l.Handle = s.kept.get(l.ID)
	l.Handle = s.Provider.Handle(l)
	s.kept.mu.Lock()
	s.kept.of[l.ID] = l.Handle
	s.kept.mu.Unlock()
	l.Keep = func(_ context.Context, handle string) error { return s.kept.keep(l.ID, handle) }
	return s.Provider.Issue(ctx, l)
}

func (s suite) issue(t *testing.T, l provider.Lease) *provider.Credential {
	t.Helper()
	c, err := s.begin(t.Context(), l)
	if err != nil {
		t.Fatalf("issuing: %v", err)
	}
	return c
}

// expectClean fails when an error tells a secret.
func (s suite) expectClean(t *testing.T, err error) {
	t.Helper()
	for _, text := range []string{fmt.Sprintf("%v", err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		s.expectNoSecret(t, text)
	}
}

func (s suite) expectNoSecret(t *testing.T, text string) {
	t.Helper()
	for _, secret := range s.Secrets() {
		if secret == "" || strings.Contains(text, secret) {
			t.Error("a secret was printed")
		}
	}
}

func testIssue(t *testing.T, s suite) {
	before := s.Clock.Now()
	c := s.issue(t, s.lease(1))
	if c.ID() == "" || c.Principal() == "" {
		t.Errorf("ID %q, principal %q: want both", c.ID(), c.Principal())
	}
	if c.ExpiresAt().Before(before.Add(s.Lease.TTL - slack)) {
		t.Errorf("expires at %s, before the TTL of %s is over", c.ExpiresAt(), s.Lease.TTL)
	}
	if latest := s.until(s.Lease).Add(slack); c.ExpiresAt().After(latest) {
		t.Errorf("expires at %s, after %s, the latest that Lifetime told", c.ExpiresAt(), latest)
	}
	if len(c.Files())+len(c.Variables()) == 0 {
		t.Error("there is nothing to project")
	}
	if !s.Works(t, c) {
		t.Error("the credential does not work")
	}
}

func testScopeIsNeeded(t *testing.T, s suite) {
	l := s.lease(2)
	l.Capability = l.Capability.DeepCopy()
	s.Unscope(l.Capability)
	if _, err := s.Provider.Render(t.Context(), l.Capability, l.Values); err == nil {
		t.Error("no scope was rendered")
	}
	if err := s.Provider.CheckCapability(t.Context(), l.Capability, l.Provider); err == nil {
		t.Error("a capability without a scope is ready")
	}
	c, err := s.begin(t.Context(), l)
	if c != nil || !provider.IsFinal(err) || !provider.IsRefused(err) {
		t.Errorf("got credential %t, error %v: want none, and a final refusal", c != nil, err)
	}
}

func testScopeIsKept(t *testing.T, s suite) {
	c := s.issue(t, s.lease(16))
	if !s.Works(t, c) {
		t.Error("what the scope says does not work: nothing is seen by what does not")
	}
	if s.Beyond(t, c) {
		t.Error("what the scope does not say works")
	}
}

func testValuesCannotWiden(t *testing.T, s suite) {
	for _, repo := range []string{"*", "a*", "../a", "a/../b", "${request.namespace}", "${aws:username}", "a\nb", "a b", "?"} {
		l := s.lease(3)
		l.Values.Repo = repo
		if _, err := s.Provider.Render(t.Context(), l.Capability, l.Values); err == nil {
			t.Errorf("repo %q was rendered", repo)
		}
		if c, err := s.begin(t.Context(), l); c != nil || !provider.IsFinal(err) || !provider.IsRefused(err) {
			t.Errorf("repo %q: got credential %t, error %v: want none, and a final refusal", repo, c != nil, err)
		}
	}
}

// testOneSpelling asks in other spellings: whoever is refused a name by a policy must not be given the same thing by
// another name.
func testOneSpelling(t *testing.T, s suite) {
	for i, repo := range append([]string{strings.ToUpper(s.Lease.Values.Repo)}, s.Otherwise...) {
		l := s.lease(30 + i)
		l.Values.Repo = repo
		c, err := s.begin(t.Context(), l)
		switch {
		case c == nil && (!provider.IsFinal(err) || !provider.IsRefused(err)):
			t.Errorf("repo %s: got %v: want a final refusal", repo, err)
		case c != nil && s.Works(t, c):
			t.Errorf("repo %s is given what is %s's", repo, s.Lease.Values.Repo)
		}
	}
}

func testShortTTL(t *testing.T, s suite) {
	l := s.lease(4)
	l.TTL = 10 * time.Second
	c := s.issue(t, l)
	if latest := s.until(l).Add(slack); c.ExpiresAt().After(latest) {
		t.Errorf("expires at %s, after %s, the latest that Lifetime told", c.ExpiresAt(), latest)
	}
	if c.ExpiresAt().Before(s.Clock.Now().Add(-slack)) {
		t.Errorf("has expired at %s", c.ExpiresAt())
	}
}

func testTwoAtOnce(t *testing.T, s suite) {
	var credentials [2]*provider.Credential
	var wg sync.WaitGroup
	for i := range credentials {
		wg.Go(func() {
			c, err := s.begin(t.Context(), s.lease(5+i))
			if err != nil {
				t.Errorf("issuing: %v", err)
			}
			credentials[i] = c
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	if credentials[0].ID() == credentials[1].ID() {
		t.Error("two leases got the same credential")
	}
	for _, c := range credentials {
		if !s.Works(t, c) {
			t.Errorf("%s does not work", c.ID())
		}
	}
}

func testAttempts(t *testing.T, s suite) {
	first, second := s.lease(7), s.lease(7)
	second.Attempt = 2
	if a, b := s.issue(t, first), s.issue(t, second); a.ID() == b.ID() {
		t.Error("two attempts cannot be told apart in the back end's log")
	}
}

func testRevoke(t *testing.T, s suite) {
	l := s.lease(8)
	c := s.issue(t, l)
	for range 2 {
		revoked := s.revoke(t, l)
		switch works := s.Works(t, c); {
		case revoked.Mode == v1alpha1.RevocationImmediate && works:
			t.Error("said to be revoked at once, and works")
		case revoked.Mode == v1alpha1.RevocationAtExpiry && !works:
			t.Error("said to work until it expires, and does not")
		case revoked.Mode != v1alpha1.RevocationImmediate && revoked.Mode != v1alpha1.RevocationAtExpiry:
			t.Errorf("mode %q says nothing", revoked.Mode)
		}
	}
}

// until is when a credential that is asked for now works no more, by what the back end says.
func (s suite) until(l provider.Lease) time.Time {
	most, _ := s.Provider.Lifetime(l)
	return s.Clock.Now().Add(most)
}

// issued is what a controller knows of a lease whose attempt was begun now.
func (s suite) issued(l provider.Lease) provider.Issued {
	l.Handle = s.kept.get(l.ID)
	return l.Issued(s.Provider.Handle(l), s.until(l))
}

// revoke asks until the back end can confirm it, when it asks for time.
func (s suite) revoke(t *testing.T, l provider.Lease) provider.Revoked {
	t.Helper()
	for {
		revoked, err := s.Provider.Revoke(t.Context(), s.issued(l))
		wait := provider.RetryAfter(err)
		switch {
		case err == nil:
			return revoked
		case wait == 0 || t.Context().Err() != nil:
			t.Fatalf("revoking: %v", err)
		}
		s.expectClean(t, err)
		select {
		case <-time.After(wait):
		case <-t.Context().Done():
		}
	}
}

func testRevokeNothing(t *testing.T, s suite) {
	if _, err := s.Provider.Revoke(t.Context(), s.issued(s.lease(9))); err != nil {
		t.Errorf("revoking what never was: %v", err)
	}
}

func testCancelled(t *testing.T, s suite) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c, err := s.begin(ctx, s.lease(10))
	if c != nil || !provider.IsRetryable(err) {
		t.Errorf("got credential %t, error %v: want none, and a retryable error", c != nil, err)
	}
	s.expectClean(t, err)
	s.issue(t, s.lease(10))
}

func testThrottled(t *testing.T, s suite) {
	s.Throttle(t)
	c, err := s.begin(t.Context(), s.lease(11))
	if c != nil || !provider.IsThrottled(err) || !provider.IsRefused(err) {
		t.Errorf("got credential %t, error %v: want none, and throttling", c != nil, err)
	}
	s.expectClean(t, err)
	s.issue(t, s.lease(11))
}

func testDown(t *testing.T, s suite) {
	l := s.lease(13)
	c := s.issue(t, l)
	s.Break(t, true)
	another := s.lease(14)
	if none, err := s.begin(t.Context(), another); none != nil || !provider.IsRetryable(err) {
		t.Errorf("issuing: got credential %t, error %v: want none, and a retryable error", none != nil, err)
	} else {
		s.expectClean(t, err)
	}
	revoked, err := s.Provider.Revoke(t.Context(), s.issued(l))
	if err == nil && revoked.Mode == v1alpha1.RevocationImmediate {
		t.Error("said to be revoked by a back end that did not answer")
	}
	s.expectClean(t, err)
	s.Break(t, false)
	if revoked := s.revoke(t, l); revoked.Mode == v1alpha1.RevocationImmediate && s.Works(t, c) {
		t.Error("said to be revoked at once, and works")
	}
}

// testRestart revokes what a process issued and did not live to store.
func testRestart(t *testing.T, s suite) {
	l := s.lease(15)
	l.Attempt = 1
	first := s.issue(t, l)
	l.Attempt = 2
	second := s.issue(t, l)
	s.Provider = s.Restart(t)
	revoked := s.revoke(t, l)
	for _, c := range []*provider.Credential{first, second} {
		if revoked.Mode == v1alpha1.RevocationImmediate && s.Works(t, c) {
			t.Errorf("%s is said to be revoked, and works", c.ID())
		}
	}
}

// testKeep has the handle of a back end that learns only while issuing how to end what it issues not be stored. Others never ask.
func testKeep(t *testing.T, s suite) {
	s.kept.full = true
	c, err := s.begin(t.Context(), s.lease(17))
	switch {
	case s.kept.asked == 0 && err != nil:
		t.Errorf("issuing: %v", err)
	case s.kept.asked > 0 && (c != nil || !provider.IsRetryable(err)):
		t.Errorf("got credential %t, error %v: want none, and a retryable error", c != nil, err)
	}
	s.expectClean(t, err)
	s.kept.full = false
	again := s.lease(17)
	again.Attempt = 2
	s.issue(t, again)
}

// testSecretsAreTold looks for what the suite knows to be secret in all that a container is given: each must be covered by what
// valetkey-exec is told to scrub.
func testSecretsAreTold(t *testing.T, s suite) {
	files := s.issue(t, s.lease(18)).ForExec().Files()
	var told []string
	if err := json.Unmarshal([]byte(files[v1alpha1.ExecSecretsFile]), &told); err != nil || len(told) == 0 {
		t.Fatalf("nothing is told: %v", err)
	}
	for path, content := range files {
		if path == v1alpha1.ExecSecretsFile {
			continue
		}
		for _, secret := range told {
			content = strings.ReplaceAll(content, secret, "")
		}
		for _, secret := range s.Secrets() {
			if strings.Contains(content, secret) {
				t.Errorf("%s holds a secret that is not told", path)
			}
		}
	}
}

func testUnprintable(t *testing.T, s suite) {
	c := s.issue(t, s.lease(12))
	if len(s.Secrets()) == 0 {
		t.Fatal("the harness knows no secret: nothing would be found")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		s.expectNoSecret(t, fmt.Sprintf(verb, c))
		s.expectNoSecret(t, fmt.Sprintf(verb, *c))
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Error(err)
	}
	s.expectNoSecret(t, string(text))
}
