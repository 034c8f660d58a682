// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package manifests installs on a cluster, for tests, what config/ ships, and returns when it is in force.
package manifests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

const (
	// manager owns what is applied.
	manager = "valetkey-tests"
	// patience bounds each wait.
	patience = time.Minute
)

// AwaitAggregated are the arguments of a kubectl that waits until the aggregated roles of config/rbac hold what they aggregate.
func AwaitAggregated() []string {
	return []string{"wait", "--for=jsonpath={.rules[0].verbs[0]}", "--timeout=60s",
		"clusterrole/valetkey-requester", "clusterrole/valetkey-approver", "clusterrole/valetkey-auditor", "clusterrole/valetkey-policy-author"}
}

// Install applies config/crd, config/namespaces, config/rbac and config/admission of the repository at root, as an
// administrator. It returns when the kinds are served and every admission rule refuses what it must. Installing again is
// harmless, and waits for whatever has changed.
func Install(ctx context.Context, config *rest.Config, root string) error {
	i, err := newInstaller(config)
	if err != nil {
		return err
	}
	for _, folder := range []string{"crd", "namespaces", "rbac", "admission"} {
		objects, err := read(filepath.Join(root, "config", folder))
		if err != nil {
			return err
		}
		for _, o := range objects {
			if err := i.apply(ctx, o); err != nil {
				return fmt.Errorf("applying %s %s: %w", o.GetKind(), o.GetName(), err)
			}
		}
		if folder != "crd" {
			continue
		}
		for _, o := range objects {
			if err := i.established(ctx, o.GetName()); err != nil {
				return fmt.Errorf("waiting for %s to be served: %w", o.GetName(), err)
			}
		}
	}
	return i.inForce(ctx)
}

type installer struct {
	client dynamic.Interface
	mapper meta.RESTMapper
}

func newInstaller(config *rest.Config) (*installer, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // the client's own limit would take longer than the API server
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	found, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	groups, err := restmapper.GetAPIGroupResources(found)
	if err != nil {
		return nil, fmt.Errorf("asking the API server what it serves: %w", err)
	}
	return &installer{client: client, mapper: restmapper.NewDiscoveryRESTMapper(groups)}, nil
}

// read returns the objects of a folder's files, in the files' order.
func read(folder string) ([]*unstructured.Unstructured, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var all []*unstructured.Unstructured
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		objects, err := decode(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, objects...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no manifests in %s", folder)
	}
	return all, nil
}

func decode(text []byte) ([]*unstructured.Unstructured, error) {
	const lookahead = 4096
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), lookahead)
	var all []*unstructured.Unstructured
	for {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		if len(o.Object) > 0 {
			all = append(all, o)
		}
	}
}

func (i *installer) apply(ctx context.Context, o *unstructured.Unstructured) error {
	kind := o.GroupVersionKind()
	mapping, err := i.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	_, err = i.client.Resource(mapping.Resource).Namespace(o.GetNamespace()).
		Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: manager, Force: true})
	return err
}

// established returns when the API server serves the kind.
func (i *installer) established(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	crds := i.client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	one := func(o *metav1.ListOptions) { o.FieldSelector = "metadata.name=" + name }
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			one(&o)
			return crds.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			one(&o)
			return crds.Watch(ctx, o)
		},
	}
	_, err := watchtools.UntilWithSync(ctx, source, &unstructured.Unstructured{}, nil, func(e watch.Event) (bool, error) {
		o, ok := e.Object.(*unstructured.Unstructured)
		return ok && served(o), nil
	})
	return err
}

func served(crd *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok && c["type"] == "Established" {
			return c["status"] == "True"
		}
	}
	return false
}
