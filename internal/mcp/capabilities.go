// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/inquiry"
	"github.com/valetkey/valetkey/internal/names"
)

// offered is what can be asked for.
type offered struct {
	You          string  `json:"you"`
	Namespace    string  `json:"namespace"`
	Capabilities []offer `json:"capabilities"`
	// Others are the names of those for which there was no room.
	Others []string `json:"others,omitempty"`
	Unread []string `json:"unread,omitempty"`
	Next   string   `json:"next"`
}

// offer is a capability.
type offer struct {
	Name       string `json:"name"`
	Does       string `json:"does"`
	DefaultTTL int32  `json:"default_ttl_seconds"`
	NotReady   string `json:"not_ready,omitempty"`
	// Terms are alternatives: a request has to fit one of them.
	Terms []term `json:"terms"`
	// Never are terms that refuse, whatever else allows.
	Never []term        `json:"never,omitempty"`
	Steps []offeredStep `json:"steps,omitempty"`
}

// term is a policy.
type term struct {
	Policy       string   `json:"policy"`
	Repos        []string `json:"repos,omitempty"`
	Environments []string `json:"environments,omitempty"`
	MaxTTL       int32    `json:"max_ttl_seconds,omitempty"`
	Approvals    int32    `json:"approvals,omitempty"`
	When         []string `json:"when,omitempty"`
}

// offeredStep is a container that may hold the credential. The digest of its image is left out: ask fills it in.
type offeredStep struct {
	Image   string   `json:"image"`
	Command []string `json:"command"`
	Args    []string `json:"args,omitempty"`
	AnyArgs bool     `json:"any_args,omitempty"`
}

const (
	// maxOffered is how many bytes of offers are told in full.
	maxOffered = 8 << 10
	// maxTerms and maxNames are how many policies, or names in one, are told of.
	maxTerms = 8
	maxNames = 10
	// maxOthers is how many more capabilities are told by name.
	maxOthers = 100
)

// capabilities says what the agent could ask for, and on what terms.
func (s *Server) capabilities(ctx context.Context, c *call) answer {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	who, err := s.inquirer.Whoami(ctx)
	if err != nil {
		return failure(err, nil)
	}
	found, unread, err := s.inquirer.Offers(ctx, who, s.namespace)
	if err != nil {
		return failure(err, nil)
	}
	said := offered{You: who.Username, Namespace: s.namespace, Capabilities: []offer{}, Unread: unread}
	only := c.text(fieldCapability)
	said.fill(slices.DeleteFunc(found, func(o inquiry.Offer) bool { return only != "" && o.Capability.Name != only }))
	switch {
	case len(unread) > 0:
		said.Next = "the list is not known to you; ask for a capability by name, with image and command, and the answer says what is allowed; or have somebody bind the ClusterRole"
	case len(said.Capabilities) == 0 && only != "":
		said.Next = fmt.Sprintf("no policy lets you ask for %s here; call capabilities without a name for what you may ask for", only)
	case len(said.Capabilities) == 0:
		said.Next = "no policy lets you ask for anything here; tell a person who you are, and what for"
	case len(said.Others) > 0:
		said.Next = "ask, within one of the terms; for the terms of others call capabilities with the name"
	default:
		said.Next = "ask, within one of the terms"
	}
	return answer{body: said}
}

// fill takes what there is room for, and names the others. The first is always told in full.
func (o *offered) fill(found []inquiry.Offer) {
	size := 0
	for i := range found {
		one := newOffer(&found[i])
		length := 0
		if marshalled, err := json.Marshal(one); err == nil {
			length = len(marshalled)
		}
		switch {
		case len(o.Capabilities) == 0 || size+length <= maxOffered:
			size += length
			o.Capabilities = append(o.Capabilities, one)
		default:
			o.Others = append(o.Others, one.Name)
		}
	}
	o.Others = few(o.Others, maxOthers)
}

func newOffer(found *inquiry.Offer) offer {
	c := &found.Capability
	o := offer{Name: c.Name, Does: c.Spec.Description, DefaultTTL: c.Spec.DefaultTTLSeconds, NotReady: found.NotReady}
	for i := range found.Allows[:min(len(found.Allows), maxTerms)] {
		o.Terms = append(o.Terms, allowing(&found.Allows[i], c))
	}
	for i := range found.Denies[:min(len(found.Denies), maxTerms)] {
		o.Never = append(o.Never, newTerm(&found.Denies[i], c))
	}
	for _, r := range c.Spec.Runner {
		image, _, _ := strings.Cut(r.Image, "@")
		o.Steps = append(o.Steps, offeredStep{Image: image, Command: r.Command, Args: r.Args, AnyArgs: r.AnyArgs})
	}
	return o
}

// allowing is an Allow policy: it asks for no less than the capability does.
func allowing(p *v1alpha1.CapabilityPolicy, c *v1alpha1.Capability) term {
	t := newTerm(p, c)
	t.MaxTTL, t.Approvals = c.Spec.MaxTTLSeconds, c.Spec.MinimumApproval
	if own := p.Spec.MaxTTLSeconds; own != nil {
		t.MaxTTL = min(t.MaxTTL, *own)
	}
	if a := p.Spec.Approval; a != nil {
		t.Approvals = max(t.Approvals, a.Required)
	}
	return t
}

// newTerm tells names as a request for the capability has to write them.
func newTerm(p *v1alpha1.CapabilityPolicy, c *v1alpha1.Capability) term {
	rules := names.Of(c)
	t := term{Policy: p.Name, Repos: few(rules.Repos(p.Spec.Repos), maxNames),
		Environments: few(rules.Environments(p.Spec.Environments), maxNames)}
	for _, w := range p.Spec.When {
		t.When = append(t.When, w.Message)
	}
	return t
}

// few are the first, and how many more there are.
func few(all []string, most int) []string {
	if len(all) <= most {
		return all
	}
	return append(slices.Clone(all[:most]), fmt.Sprintf("and %d more", len(all)-most))
}
