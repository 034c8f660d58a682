// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package provider is the seam to the back ends that credentials come from: a small interface, a credential that cannot be
// printed, and errors that say what to do next without repeating what a back end said.
package provider

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
)

// Provider is one back end.
type Provider interface {
	// Type names the back end in grants and audit records: aws-sts.
	Type() string
	// CheckProvider says what is wrong with a provider's configuration; a *NotReadyError, or nil.
	CheckProvider(p *v1alpha1.CapabilityProvider) error
	// CheckCapability says why a capability cannot be issued; a *NotReadyError when it is the capability's own fault.
	CheckCapability(ctx context.Context, c *v1alpha1.Capability, p *v1alpha1.CapabilityProvider) error
	// Render says what a request's credential could do: for most back ends the capability's scope template, filled with the request's
	// values. It refuses values that could widen it. A back end that knows a scope and refuses it returns both: nothing is issued of it,
	// and what was approved with another scope ends.
	Render(ctx context.Context, c *v1alpha1.Capability, v Values) (Scope, error)
	// Lifetime is how long a credential that is asked for about now can work at the most: the TTL, or longer where the back end
	// has a minimum, and the time that asking takes. It is what is believed of an attempt whose end nobody saw.
	// It is not known where the back end's own settings alone say how long what it issues works.
	Lifetime(l Lease) (most time.Duration, known bool)
	// Issue asks for the lease's credential, once. Its errors are this package's own, of one of three kinds: see [Error].
	// What a back end answered is delivered only if it is what was asked for.
	Issue(ctx context.Context, l Lease) (*Credential, error)
	// Handle is what Revoke needs to know beside the lease's ID, when capability and provider may be gone: no secret, and empty for most
	// back ends. It is stored before anything is asked for, in the place of l.Handle, which tells of the attempts before.
	Handle(l Lease) string
	// Revoke ends what was issued for a lease, or says that it cannot. Revoking twice, or what never existed, is harmless. It succeeds
	// only when the back end has confirmed it. It is asked once more when nothing issued can work any more, to clean up. If it
	// is answered with something else than it asks for on the way, its error says until when that works: see [StillWorks].
	Revoke(ctx context.Context, i Issued) (Revoked, error)
}

// Values are what a scope template sees of a request; nothing else.
type Values struct {
	Repo, Environment, Namespace string
}

// longestNamespace is that of Kubernetes, in characters.
const longestNamespace = 63

var namespaceForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// Longest are values that make the longest scope that a request for the capability can bring about.
func Longest(c *v1alpha1.Capability) Values {
	return Values{Repo: names.Longest(c), Environment: strings.Repeat("e", names.LongestEnvironment),
		Namespace: strings.Repeat("n", longestNamespace)}
}

// Check says which value could widen a scope of the capability, or is not in the one spelling that it takes. Whoever
// asked policies has refused it before; it is looked at again where it counts. It also refuses every value if the
// capability's scope for one request could lie within that for another: see [names.CheckScope].
func (v Values) Check(c *v1alpha1.Capability) error {
	if err := names.CheckScope(c); err != nil {
		return err
	}
	if err := names.Check(c, v.Repo, v.Environment); err != nil {
		return err
	}
	if len(v.Namespace) > longestNamespace || !namespaceForm.MatchString(v.Namespace) {
		return errors.New("the request's namespace cannot be part of a scope: lower case letters, digits and dashes")
	}
	return nil
}

// Fill is what puts the values into a template: ${request.repo}, ${request.environment} and ${request.namespace}.
func (v Values) Fill() *strings.Replacer {
	return strings.NewReplacer("${request.repo}", v.Repo, "${request.environment}", v.Environment, "${request.namespace}", v.Namespace)
}

// Scope is a rendered scope.
type Scope struct {
	// Lines show it to people, one statement each.
	Lines []string
	// Actions are what the grant and the audit record list.
	Actions []string
	// Principal is what a credential acts as: for AWS, the role's ARN.
	Principal string
	// Document is the scope in the back end's own form: for AWS, the session policy.
	Document string
}

// What a grant and a review show of a scope: see their CRDs. People who cannot be shown everything are shown nothing.
const (
	// MostActions is how many Actions a grant lists.
	MostActions = 128
	// LongestAction is the longest of them, in characters.
	LongestAction = 256
	// longestLine is the longest of the Lines, in characters.
	longestLine = 2048
)

// Fits says what of a scope is more than can be shown.
func (s Scope) Fits() error {
	if len(s.Actions) > MostActions {
		return fmt.Errorf("the scope is of %d parts, more than %d that a grant shows; name fewer", len(s.Actions), MostActions)
	}
	for _, action := range s.Actions {
		if len(action) > LongestAction {
			return fmt.Errorf("a part of the scope can be longer than %d characters: %s…; shorten or split it", LongestAction, action[:64])
		}
	}
	for _, line := range s.Lines {
		if len(line) > longestLine {
			return fmt.Errorf("a line of the scope can be longer than %d characters: %s…; shorten or split it", longestLine, line[:64])
		}
	}
	return nil
}

// Lease is one attempt to issue one grant's credential.
type Lease struct {
	// ID is the grant's leaseID.
	ID string
	// Attempt is the grant's attempt.
	Attempt int32
	// Capability and Provider as approved.
	Capability *v1alpha1.Capability
	Provider   *v1alpha1.CapabilityProvider
	// Values of the request.
	Values Values
	// TTL that was granted.
	TTL time.Duration
	// Grant, Requester and Task are its name, who asked for it, and for which task: for back ends whose credentials say so.
	Grant, Requester, Task string
	// Handle that is stored.
	Handle string
	// Keep stores another handle, and returns when it is stored: for what Revoke needs and what is known only while issuing. A back
	// end that could not keep it ends what it began, and delivers nothing.
	Keep func(ctx context.Context, handle string) error
}

// Session names the lease's session in the back end's own log: agent-<leaseID>-<attempt>, 46 characters at most.
func (l Lease) Session() string { return fmt.Sprintf("agent-%s-%d", l.ID, l.Attempt) }

// Issued is what is known of a lease that ends: that something may have been issued by any attempt.
type Issued struct {
	// ID is the grant's leaseID.
	ID string
	// Attempts were begun, from 1 on.
	Attempts int32
	// Nothing are the attempts among them of which it is known that nothing was issued.
	Nothing []int32
	// Handle as the back end made it.
	Handle string
	// Until is the latest instant at which anything that was issued can work by itself.
	Until time.Time
	// Unknown reports whether something was answered that may work longer than that, for the answer did not say.
	Unknown bool
}

// Issued is what Revoke is told of the lease.
func (l Lease) Issued(handle string, until time.Time) Issued {
	return Issued{ID: l.ID, Attempts: l.Attempt, Handle: handle, Until: until}
}

// Sessions are the names of the attempts' sessions.
func (i Issued) Sessions() []string {
	names := make([]string, 0, i.Attempts)
	for attempt := int32(1); attempt <= i.Attempts; attempt++ {
		names = append(names, Lease{ID: i.ID, Attempt: attempt}.Session())
	}
	return names
}

// Open are the names of the sessions for which something may have been issued.
func (i Issued) Open() []string {
	return slices.DeleteFunc(i.Sessions(), func(session string) bool {
		return slices.ContainsFunc(i.Nothing, func(attempt int32) bool { return session == Lease{ID: i.ID, Attempt: attempt}.Session() })
	})
}

// Revoked is what revoking came to.
type Revoked struct {
	// Mode is Immediate only when the back end confirmed that the credential works no more.
	Mode v1alpha1.RevocationMode
	// Lingers is how long after the confirmation a part of the back end that was not asked may still accept it; mostly zero.
	Lingers time.Duration
	// LeavesOpen reports whether what was opened with the credential may go on, such as a watch. Nobody can say until when.
	LeavesOpen bool
	// Left says to people what could not be cleared away beside, in our own words; empty when nothing is left. It
	// takes nothing from what is confirmed.
	Left string
}

// Set is the list of back ends.
type Set struct{ providers []Provider }

// NewSet makes the list. Whatever is asked of a back end that comes from it has a deadline: see IssueTime and
// RevokeTime.
func NewSet(providers ...Provider) Set {
	s := Set{}
	for _, p := range providers {
		s.providers = append(s.providers, bounded{p})
	}
	return s
}

// For is the back end of a provider object.
func (s Set) For(p *v1alpha1.CapabilityProvider) (Provider, error) {
	switch {
	case p.Spec.AWS != nil:
		return s.OfType(TypeAWS)
	case p.Spec.Kubernetes != nil:
		return s.OfType(TypeKubernetes)
	case p.Spec.Vault != nil:
		return s.OfType(TypeVault)
	case p.Spec.GCP != nil:
		return s.OfType(TypeGCP)
	case p.Spec.GitHub != nil:
		return s.OfType(TypeGitHub)
	case p.Spec.Token != nil:
		return s.OfType(TypeToken)
	}
	return nil, &NotReadyError{Reason: v1alpha1.ReasonProviderNotReady, Message: fmt.Sprintf("provider %q names no back end that this operator knows", p.Name)}
}

// The types of back ends.
const (
	// TypeAWS is AWS, as the article's audit record names it.
	TypeAWS = "aws-sts"
	// TypeKubernetes is the cluster that the operator runs in.
	TypeKubernetes = "kubernetes"
	// TypeVault is HashiCorp Vault.
	TypeVault = "vault"
	// TypeGCP is Google Cloud.
	TypeGCP = "gcp"
	// TypeGitHub is GitHub, as an App's installation.
	TypeGitHub = "github-app"
	// TypeToken is the operator itself, as an issuer of signed tokens.
	TypeToken = "token"
)

// OfType is the back end that grants name by its type.
func (s Set) OfType(name string) (Provider, error) {
	for _, p := range s.providers {
		if p.Type() == name {
			return p, nil
		}
	}
	return nil, &NotReadyError{Reason: v1alpha1.ReasonProviderNotReady, Message: fmt.Sprintf("this operator has no back end of type %q", name)}
}
