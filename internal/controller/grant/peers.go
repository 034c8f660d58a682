// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/features"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/lifecycle"
	"github.com/valetkey/valetkey/internal/live"
)

// Peers finds the grants of a policy that its limit may count. What it finds is at least as new as what the cache
// shows of any one grant: whatever was written to a grant before that is seen.
type Peers interface {
	// Of finds those of a policy. They are not to be changed.
	Of(ctx context.Context, policy string) ([]*v1alpha1.CapabilityGrant, error)
}

// PolicyField is the field by which the API server selects grants of a policy.
const PolicyField = "spec.approval.policy"

// byPolicy is the name of the cache's index.
const byPolicy = "policy"

// CachedPeers reads from a cache that one watch fills. Such a watch tells of all grants in the order in which they
// were written, and what was missed while it was interrupted is taken over in one go.
type CachedPeers struct{ index toolscache.Indexer }

// NewCachedPeers has the cache index grants by their policy.
func NewCachedPeers(ctx context.Context, informers cache.Informers) (CachedPeers, error) {
	if !features.FeatureGates().Enabled(features.AtomicFIFO) {
		return CachedPeers{}, errors.New("client-go's feature AtomicFIFO is switched off (KUBE_FEATURE_AtomicFIFO): " +
			"what was missed while a watch was interrupted is then not taken over in one go, and limits would not be exact")
	}
	informer, err := informers.GetInformer(ctx, &v1alpha1.CapabilityGrant{}, cache.BlockUntilSynced(false))
	if err != nil {
		return CachedPeers{}, err
	}
	indexed, ok := informer.(toolscache.SharedIndexInformer)
	if !ok {
		return CachedPeers{}, fmt.Errorf("the cache of grants is a %T, which is not filled by one watch", informer)
	}
	err = indexed.AddIndexers(toolscache.Indexers{byPolicy: func(object any) ([]string, error) {
		g, ok := object.(*v1alpha1.CapabilityGrant)
		if !ok || over(g) {
			return nil, nil
		}
		return []string{g.Spec.Approval.Policy}, nil
	}})
	return CachedPeers{index: indexed.GetIndexer()}, err
}

// over reports whether nothing of a grant works any more, whatever the time is.
func over(g *v1alpha1.CapabilityGrant) bool { return g.Status.EndedAt != nil && len(g.Stops()) == 0 }

// Of implements Peers.
func (p CachedPeers) Of(_ context.Context, policy string) ([]*v1alpha1.CapabilityGrant, error) {
	found, err := p.index.ByIndex(byPolicy, policy)
	if err != nil {
		return nil, fmt.Errorf("looking up the grants of policy %s: %w", policy, err)
	}
	peers := make([]*v1alpha1.CapabilityGrant, 0, len(found))
	for _, object := range found {
		if g, ok := object.(*v1alpha1.CapabilityGrant); ok {
			peers = append(peers, g)
		}
	}
	return peers, nil
}

// LivePeers asks the API server, where each namespace has a watch of its own: several watches tell nothing of each
// other's order.
type LivePeers struct {
	// Reader reads from the API server.
	Reader *live.Reader
	// Cache shows which of them are there.
	Cache client.Reader
	// Namespaces to look into.
	Namespaces []string
}

// Of implements Peers.
func (p LivePeers) Of(ctx context.Context, policy string) ([]*v1alpha1.CapabilityGrant, error) {
	var peers []*v1alpha1.CapabilityGrant
	for _, namespace := range p.Namespaces {
		err := p.Reader.Each(ctx, &v1alpha1.CapabilityGrantList{}, func(object client.Object) bool {
			if g := object.(*v1alpha1.CapabilityGrant); !over(g) {
				peers = append(peers, observe.SlimGrant(g.DeepCopy()))
			}
			return true
		}, client.InNamespace(namespace), client.MatchingFields{PolicyField: policy})
		if err != nil {
			if apierrors.IsForbidden(err) && p.isLeft(ctx, namespace) {
				continue
			}
			return nil, fmt.Errorf("listing the grants of policy %s: %w", policy, err)
		}
	}
	return peers, nil
}

// isLeft reports whether a namespace is gone, or goes with no grant in it: one that has any is marked, and the operator keeps its rights
// there.
func (p LivePeers) isLeft(ctx context.Context, namespace string) bool {
	ns := &corev1.Namespace{}
	err := p.Cache.Get(ctx, client.ObjectKey{Name: namespace}, ns)
	_, marked := ns.Labels[v1alpha1.LabelInUse]
	return apierrors.IsNotFound(err) || err == nil && ns.DeletionTimestamp != nil && !marked
}

// Held brings back the grants of a policy that are deleted and kept only because the policy has a limit, when the
// policy changes.
func Held(peers Peers) handler.MapFunc {
	return func(ctx context.Context, policy client.Object) []reconcile.Request {
		found, err := peers.Of(ctx, policy.GetName())
		if err != nil {
			return nil
		}
		var keys []reconcile.Request
		for _, g := range found {
			if g.Status.EndedAt != nil && g.DeletionTimestamp != nil {
				keys = append(keys, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(g)})
			}
		}
		return keys
	}
}

// limit looks at what limits.active of the grant's policy decides: whether the next attempt may be begun and minted,
// and whether an ended grant that is deleted has to stay. Of any other grant it finds out nothing.
func (c *Controller) limit(ctx context.Context, f lifecycle.Facts, mem *memory) (lifecycle.LimitFacts, error) {
	g := f.Grant
	issues := g.Status.Stop == nil && g.Status.EndedAt == nil && f.Job.StartedFor == "" && !mem.Minted &&
		!mem.atRest(c.Clock.Now())
	leaves := g.Status.EndedAt != nil && g.DeletionTimestamp != nil
	if !issues && !leaves {
		return lifecycle.LimitFacts{}, nil
	}
	policy := &v1alpha1.CapabilityPolicy{}
	err := c.Client.Get(ctx, client.ObjectKey{Name: g.Spec.Approval.Policy}, policy, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return lifecycle.LimitFacts{}, nil
	}
	if err != nil {
		return lifecycle.LimitFacts{}, fmt.Errorf("looking up policy %s: %w", g.Spec.Approval.Policy, err)
	}
	if policy.Spec.Limits == nil || policy.Spec.Limits.Active == nil {
		return lifecycle.LimitFacts{}, nil
	}
	found := lifecycle.LimitFacts{Active: policy.Spec.Limits.Active, Current: mem.showsClaim()}
	if issues {
		found.Peers, err = c.Peers.Of(ctx, g.Spec.Approval.Policy)
	}
	return found, err
}
