// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"iter"
	"slices"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
)

// Set is all policies that there are. What can say something of a request is found in it by capability and repository, without a look at
// the others. It does not change once it is made, and is safe for concurrent use. A nil Set has none.
type Set struct {
	all            []*Compiled
	allows, denies map[string]*group
}

// group is the policies of one effect that name a capability, or [names.Any].
type group struct {
	all []*Compiled
	// byRepo has those all of whose patterns have a key, by each of these; others has the rest.
	byRepo map[string][]*Compiled
	others []*Compiled
}

// NewSet makes a set of policies, no two of which have the same name.
func NewSet(all ...*Compiled) *Set {
	s := &Set{all: slices.SortedFunc(slices.Values(all), func(a, b *Compiled) int { return cmp.Compare(a.name(), b.name()) }),
		allows: map[string]*group{}, denies: map[string]*group{}}
	for _, p := range s.all {
		groups, capabilities := s.allows, p.policy.Spec.Capabilities
		if !p.allows() {
			groups = s.denies
			if len(capabilities) == 0 {
				capabilities = []string{names.Any}
			}
		}
		if slices.Contains(capabilities, names.Any) {
			capabilities = []string{names.Any}
		}
		for _, capability := range capabilities {
			if groups[capability] == nil {
				groups[capability] = &group{byRepo: map[string][]*Compiled{}}
			}
			groups[capability].add(p)
		}
	}
	return s
}

func (g *group) add(p *Compiled) {
	if len(g.all) > 0 && g.all[len(g.all)-1] == p {
		return // It names the capability twice.
	}
	g.all = append(g.all, p)
	keys, whole := names.RepoKeys(p.policy.Spec.Repos, !p.allows())
	if !whole {
		g.others = append(g.others, p)
		return
	}
	for _, key := range keys {
		g.byRepo[key] = append(g.byRepo[key], p)
	}
}

// All are the policies of the set, by name.
func (s *Set) All() []*Compiled {
	if s == nil {
		return nil
	}
	return s.all
}

// groups are those of a capability.
func (s *Set) groups(allow bool, capability string) iter.Seq[*group] {
	return func(yield func(*group) bool) {
		if s == nil {
			return
		}
		groups := s.denies
		if allow {
			groups = s.allows
		}
		for _, name := range []string{capability, names.Any} {
			if g := groups[name]; g != nil && !yield(g) {
				return
			}
		}
	}
}

// matching are the policies of an effect whose fields match a request, each once.
func (s *Set) matching(allow bool, r *v1alpha1.CapabilityRequest, asked names.Asked) iter.Seq[*Compiled] {
	return func(yield func(*Compiled) bool) {
		for g := range s.groups(allow, r.Spec.Capability) {
			for p := range g.of(asked.RepoKeys(!allow)) {
				if p.matchesFields(r, asked) && !yield(p) {
					return
				}
			}
		}
	}
}

// of are the policies that may be about a repository with some keys, each once.
func (g *group) of(keys []string) iter.Seq[*Compiled] {
	return func(yield func(*Compiled) bool) {
		for _, p := range g.others {
			if !yield(p) {
				return
			}
		}
		for i, key := range keys {
			for _, p := range g.byRepo[key] {
				before := slices.ContainsFunc(keys[:i], func(other string) bool { return slices.Contains(g.byRepo[other], p) })
				if !before && !yield(p) {
					return
				}
			}
		}
	}
}
