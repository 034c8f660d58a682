// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
	"github.com/valetkey/valetkey/internal/policy"
)

// The catalogue's kinds.
const (
	kindProvider   = "CapabilityProvider"
	kindCapability = "Capability"
	kindPolicy     = "CapabilityPolicy"
	kindRequest    = "CapabilityRequest"
	kindTest       = "PolicyTest"
)

// Catalogue is what the manifests of a repository say: where credentials come from, what may be asked for, and by whom.
type Catalogue struct {
	providers    map[string]*v1alpha1.CapabilityProvider
	capabilities map[string]*v1alpha1.Capability
	policies     []*stored
	tests        []string
	kinds        map[string]*kind
	// files says where each object stands, by kind and name.
	files map[string]string
}

// stored is a policy, compiled once.
type stored struct {
	*v1alpha1.CapabilityPolicy
	compiled *policy.Compiled
}

// Load reads all manifests below directories. Capabilities, their providers and policies are used; objects of other groups, and
// requests and grants, are not looked at. An error names, a line each, every object that the API server would not take and why, and
// every name that is there twice. A catalogue without any policy is an error, too: nothing could be said of it.
func Load(dirs ...string) (*Catalogue, error) {
	manifests, tests, err := find(dirs)
	if err != nil {
		return nil, err
	}
	kinds, err := readKinds()
	if err != nil {
		return nil, fmt.Errorf("the kinds cannot be read: %w", err)
	}
	compiler, err := policy.NewCompiler()
	if err != nil {
		return nil, err
	}
	c := &Catalogue{
		providers: map[string]*v1alpha1.CapabilityProvider{}, capabilities: map[string]*v1alpha1.Capability{},
		tests: tests, kinds: kinds, files: map[string]string{},
	}
	var problems []error
	for _, file := range manifests {
		found, err := documents(file)
		problems = append(problems, err)
		for _, d := range found {
			problems = append(problems, c.add(d))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if len(c.policies) == 0 {
		return nil, fmt.Errorf("there is no %s of %s below %s", kindPolicy, v1alpha1.GroupVersion, strings.Join(dirs, ", "))
	}
	slices.SortFunc(c.policies, func(a, b *stored) int { return strings.Compare(a.Name, b.Name) })
	for _, p := range c.policies {
		p.compiled = compiler.Compile(p.CapabilityPolicy)
	}
	return c, nil
}

// add takes an object in, if it is one of the catalogue's.
func (c *Catalogue) add(d document) error {
	name := d.text("kind")
	version, err := schema.ParseGroupVersion(d.text("apiVersion"))
	known := c.kinds[name] != nil || name == kindTest
	switch {
	case err != nil:
		return fmt.Errorf("%s: apiVersion: %w", d, err)
	case version.Group != v1alpha1.GroupVersion.Group && known:
		return fmt.Errorf("%s: apiVersion is %q; a %s is of %s", d, d.text("apiVersion"), name, v1alpha1.GroupVersion)
	case version.Group != v1alpha1.GroupVersion.Group:
		return nil
	case version != v1alpha1.GroupVersion:
		return fmt.Errorf("%s: there is no version %s; write apiVersion: %s", d, version, v1alpha1.GroupVersion)
	case name == kindTest:
		return fmt.Errorf("%s: a %s stands in a file whose name ends in %s; rename the file", d, kindTest, TestSuffix)
	case !known:
		return fmt.Errorf("%s: there is no kind %q in %s; there are %s", d, name, version.Group, strings.Join(slices.Sorted(maps.Keys(c.kinds)), ", "))
	case !slices.Contains([]string{kindProvider, kindCapability, kindPolicy}, name):
		return nil
	}
	if problems := c.kinds[name].admit(d.object); len(problems) > 0 {
		return refused(d.String(), problems)
	}
	if before, twice := c.files[name+" "+d.text("metadata", "name")]; twice {
		return fmt.Errorf("%s: it is in %s too; give one another name, or test the folders one by one", d, before)
	}
	c.files[name+" "+d.text("metadata", "name")] = d.file
	return c.store(d)
}

// refused says of an object what the API server would not take, a line each.
func refused(what string, problems []string) error {
	lines := make([]error, len(problems))
	for i, p := range problems {
		lines[i] = fmt.Errorf("%s: %s", what, p)
	}
	return errors.Join(lines...)
}

func (c *Catalogue) store(d document) error {
	var err error
	switch d.text("kind") {
	case kindProvider:
		p := &v1alpha1.CapabilityProvider{}
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(d.object, p)
		c.providers[p.Name] = p
	case kindCapability:
		capability := &v1alpha1.Capability{}
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(d.object, capability)
		c.capabilities[capability.Name] = capability
	default:
		p := &v1alpha1.CapabilityPolicy{}
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(d.object, p)
		c.policies = append(c.policies, &stored{CapabilityPolicy: p})
	}
	if err != nil {
		return fmt.Errorf("%s: %w", d, err)
	}
	return nil
}

// policy is the one of a name; nil if there is none.
func (c *Catalogue) policy(name string) *stored {
	at, found := slices.BinarySearchFunc(c.policies, name, func(p *stored, name string) int { return strings.Compare(p.Name, name) })
	if !found {
		return nil
	}
	return c.policies[at]
}

// unready says why a capability could never be issued, whatever the operator is started with; empty if nothing is known to be wrong.
func (c *Catalogue) unready(capability *v1alpha1.Capability) string {
	if err := names.CheckScope(capability); err != nil {
		return err.Error()
	}
	if err := names.CheckPermissions(capability.Spec.GitHub); err != nil {
		return err.Error()
	}
	return c.unprovided(capability)
}

// unprovided is unready for what is wrong with the provider.
func (c *Catalogue) unprovided(capability *v1alpha1.Capability) string {
	name := capability.Spec.ProviderRef.Name
	p := c.providers[name]
	if p == nil {
		return fmt.Sprintf("its provider %q does not exist", name)
	}
	if has, wants := providerBackend(&p.Spec), capabilityBackend(&capability.Spec); has != wants {
		return fmt.Sprintf("its provider %q is of %s, and the capability of %s", name, has, wants)
	}
	return ""
}

func providerBackend(s *v1alpha1.CapabilityProviderSpec) string {
	switch {
	case s.AWS != nil:
		return "aws"
	case s.Kubernetes != nil:
		return "kubernetes"
	case s.Vault != nil:
		return "vault"
	case s.GCP != nil:
		return "gcp"
	case s.GitHub != nil:
		return "github"
	default:
		return "token"
	}
}

func capabilityBackend(s *v1alpha1.CapabilitySpec) string {
	switch {
	case s.AWS != nil:
		return "aws"
	case s.Kubernetes != nil:
		return "kubernetes"
	case s.Vault != nil:
		return "vault"
	case s.GCP != nil:
		return "gcp"
	case s.GitHub != nil:
		return "github"
	default:
		return "token"
	}
}
