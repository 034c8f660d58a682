// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
)

// Policies compiles each generation of each policy once. It is safe for concurrent use.
type Policies struct {
	reader   client.Reader
	compiler *policy.Compiler
	set      asOf[*policy.Set]

	mu       sync.Mutex
	compiled map[types.UID]generation
}

type generation struct {
	number  int64
	leaving bool
	policy  *policy.Compiled
}

// NewPolicies reads policies from the reader, which is the cache.
func NewPolicies(reader client.Reader, compiler *policy.Compiler) *Policies {
	return &Policies{reader: reader, compiler: compiler, compiled: map[types.UID]generation{}}
}

// Set is every policy that is stored, compiled.
func (p *Policies) Set(ctx context.Context, world *World) (*policy.Set, error) {
	return p.set.get(world, func() (*policy.Set, error) { return p.compileAll(ctx) })
}

func (p *Policies) compileAll(ctx context.Context) (*policy.Set, error) {
	stored := &v1alpha1.CapabilityPolicyList{}
	if err := p.reader.List(ctx, stored, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing policies: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*policy.Compiled, 0, len(stored.Items))
	present := make(map[types.UID]generation, len(stored.Items))
	for i := range stored.Items {
		item := &stored.Items[i]
		present[item.UID] = p.compile(item)
		list = append(list, present[item.UID].policy)
	}
	p.compiled = present
	return policy.NewSet(list...), nil
}

// Get compiles one policy, or returns what was compiled of the same generation.
func (p *Policies) Get(item *v1alpha1.CapabilityPolicy) *policy.Compiled {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.compile(item)
	p.compiled[item.UID] = g
	return g.policy
}

func (p *Policies) compile(item *v1alpha1.CapabilityPolicy) generation {
	leaving := item.DeletionTimestamp != nil
	if g, ok := p.compiled[item.UID]; ok && g.number == item.Generation && g.leaving == leaving {
		return g
	}
	return generation{number: item.Generation, leaving: leaving, policy: p.compiler.Compile(item)}
}
