// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubernetes issues tokens of a capability's own ServiceAccount, for the cluster that the operator runs in. Each is bound to
// an anchor, an empty Secret beside the ServiceAccount: deleting it ends the token.
package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound"
)

const (
	// minimumToken is the shortest lifetime that the API server gives a token.
	minimumToken = 600 * time.Second
	// askingTime is what may pass between the beginning of an attempt and the API server's answer.
	askingTime = time.Minute
	// remembers is how long an API server goes on accepting a token that it has just accepted, without looking for its anchor:
	// TokenSuccessCacheTTL of kube-apiserver.
	remembers = 10 * time.Second
	// finishes is how long an API server goes on with a request that it has begun, such as a write whose body comes slowly: the
	// default of its --request-timeout. Of writes no more than 34 s pass, whatever that says.
	finishes = time.Minute
)

// Identities makes tokens of capabilities' ServiceAccounts, and ends them.
type Identities interface {
	Check(ctx context.Context, capability, account string) error
	Bind(ctx context.Context, capability, account, anchor string, ttl time.Duration) (identity.Bound, error)
	Unbind(ctx context.Context, anchors ...string) error
	Accepted(ctx context.Context, t identity.Token) (bool, error)
}

// Options of the back end. All are required.
type Options struct {
	// Servers are the URLs of the API server that providers may name.
	Servers []string
	// CA returns the certificates, in PEM, of the authority of the API server.
	CA func() ([]byte, error)
	// Namespace of the identities.
	Namespace string
	// OperatorNamespace is the one that the operator runs in.
	OperatorNamespace string
	// Identities makes the tokens.
	Identities Identities
	// Roles reads roles and their bindings.
	Roles client.Reader
}

// Provider is the back end.
type Provider struct {
	options Options
	// known is what is known of rights, and opening which of them open what goes on after the grant's end.
	known, opening table

	mu sync.Mutex
	// issued are the tokens that this process issued and that were not revoked yet, by anchor: to ask the API server about.
	issued map[string]identity.Token
}

// New makes the back end.
func New(o Options) *Provider {
	return &Provider{options: o, known: known(), opening: opening(), issued: map[string]identity.Token{}}
}

// Type names the back end.
func (*Provider) Type() string { return provider.TypeKubernetes }

// CheckProvider refuses servers that the operator was not started with: a token is sent nowhere else.
func (k *Provider) CheckProvider(p *v1alpha1.CapabilityProvider) error {
	if p.Spec.Kubernetes == nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotReady, Message: fmt.Sprintf("provider %q has no spec.kubernetes", p.Name)}
	}
	if server := p.Spec.Kubernetes.Server; !outbound.IsOneOf(k.options.Servers, server) {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonEndpointNotAllowed,
			Message: fmt.Sprintf("server %s is not allowed; start the operator with --kubernetes-server=%s", server, server)}
	}
	return nil
}

// CheckCapability looks for the capability's identity, and for what its roles allow.
func (k *Provider) CheckCapability(ctx context.Context, c *v1alpha1.Capability, p *v1alpha1.CapabilityProvider) error {
	if c.Spec.Kubernetes == nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotReady,
			Message: fmt.Sprintf("the capability has no spec.kubernetes, but its provider %q is of Kubernetes", p.Name)}
	}
	if err := k.options.Identities.Check(ctx, c.Name, c.Spec.Kubernetes.ServiceAccountName); err != nil {
		return err
	}
	_, err := k.Render(ctx, c, provider.Longest(c))
	return err
}

// Render shows the rules of every role that is bound to the ServiceAccount. Rights that are refused are returned beside the error, so
// that what was approved before they were bound ends for the change.
func (k *Provider) Render(ctx context.Context, c *v1alpha1.Capability, v provider.Values) (provider.Scope, error) {
	all, err := k.rights(ctx, c, v)
	if all == nil {
		return provider.Scope{}, err
	}
	return all.scope(k.user(c)), err
}

// rights are those that are bound, with an error if the capability does not accept them; nil if they could not be found out.
func (k *Provider) rights(ctx context.Context, c *v1alpha1.Capability, v provider.Values) (rights, error) {
	if c.Spec.Kubernetes == nil {
		return nil, invalid("capability %s has no spec.kubernetes", c.Name)
	}
	if err := v.Check(c); err != nil {
		return nil, invalid("%s", err)
	}
	all, err := k.bound(ctx, c.Spec.Kubernetes.ServiceAccountName)
	if err != nil {
		return nil, err
	}
	return all, k.check(c, all)
}

func (k *Provider) user(c *v1alpha1.Capability) string {
	return fmt.Sprintf("system:serviceaccount:%s:%s", k.options.Namespace, c.Spec.Kubernetes.ServiceAccountName)
}

// Lifetime is the token's, and the time that asking takes.
func (*Provider) Lifetime(l provider.Lease) (time.Duration, bool) {
	return max(l.TTL, minimumToken) + askingTime, true
}

// leavesOpen is the handle of a lease whose roles may open what goes on after its end.
const leavesOpen = "leaves-open"

// Handle says whether what the lease opens may go on. Nothing else needs to be kept: the anchors are named for the lease.
// What is not known, or does not exist yet, may open connections, too.
func (*Provider) Handle(l provider.Lease) string {
	mayOpen := []v1alpha1.KubernetesAcceptance{v1alpha1.AcceptOpenConnections, v1alpha1.AcceptUnknown,
		v1alpha1.AcceptWildcards}
	if k := l.Capability.Spec.Kubernetes; k != nil && slices.ContainsFunc(k.Accept,
		func(a v1alpha1.KubernetesAcceptance) bool { return slices.Contains(mayOpen, a) }) {
		return leavesOpen
	}
	return ""
}

// anchor is the name of the Secret that the token of a session is bound to.
func anchor(session string) string { return v1alpha1.NamePrefix + session }

// Issue asks the API server, once.
func (k *Provider) Issue(ctx context.Context, l provider.Lease) (*provider.Credential, error) {
	if err := k.CheckProvider(l.Provider); err != nil {
		return nil, refused(err)
	}
	rights, err := k.rights(ctx, l.Capability, l.Values)
	if err != nil {
		return nil, refused(err)
	}
	ca, err := k.options.CA()
	if err != nil {
		return nil, provider.NotAsked(provider.Retryable, "the certificate of the API server's authority cannot be read")
	}
	bound, err := k.options.Identities.Bind(ctx, l.Capability.Name, l.Capability.Spec.Kubernetes.ServiceAccountName, anchor(l.Session()), l.TTL)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	k.issued[anchor(l.Session())] = bound.Token
	k.mu.Unlock()
	config, err := kubeconfig(l.Provider.Spec.Kubernetes.Server, ca, rights.namespace(), bound.Reveal())
	if err != nil {
		return nil, provider.Mismatched(provider.Retryable, provider.WorksUntil(bound.ExpiresAt), "the kubeconfig cannot be written")
	}
	credential, err := provider.NewCredential(provider.CredentialFields{
		ID: bound.ID, Principal: bound.User, ExpiresAt: bound.ExpiresAt, Secrets: []string{bound.Reveal()},
		Files:    map[string]string{"kubernetes/config": string(config)},
		Pointers: map[string]string{"KUBECONFIG": v1alpha1.MountPath + "/kubernetes/config"},
	})
	if err != nil {
		return nil, provider.Mismatched(provider.Final, provider.WorksUntil(bound.ExpiresAt),
			"the API server's token cannot be projected: "+err.Error())
	}
	return credential, nil
}

// refused: no token was asked for. What could not be found out may be found out later.
func refused(err error) error {
	class := provider.Final
	if !isInvalid(err) {
		class = provider.Retryable
	}
	return provider.NotAsked(class, err.Error())
}

// Revoke deletes the anchors of the lease's attempts. The API server then says of each that it is not there; and of a token that
// this process issued, that it does not accept it.
func (k *Provider) Revoke(ctx context.Context, i provider.Issued) (provider.Revoked, error) {
	stays := provider.EndAll(i.Sessions(), func(session string) error {
		if err := k.options.Identities.Unbind(ctx, anchor(session)); err != nil {
			return err
		}
		return k.confirm(ctx, anchor(session))
	})
	if stays != nil {
		return provider.Revoked{}, stays
	}
	return provider.Revoked{Mode: v1alpha1.RevocationImmediate, Lingers: remembers + finishes,
		LeavesOpen: i.Handle == leavesOpen}, nil
}

func (k *Provider) confirm(ctx context.Context, anchor string) error {
	k.mu.Lock()
	token, known := k.issued[anchor]
	k.mu.Unlock()
	if !known {
		return nil
	}
	accepted, err := k.options.Identities.Accepted(ctx, token)
	if err != nil {
		return err
	}
	if accepted {
		return &provider.Error{Class: provider.Retryable, RetryAfter: time.Second,
			Message: fmt.Sprintf("the API server still accepts the token, as it does for %s after it last did", remembers)}
	}
	k.mu.Lock()
	delete(k.issued, anchor)
	k.mu.Unlock()
	return nil
}
