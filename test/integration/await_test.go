// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"
)

// source lists and watches objects of a kind.
func (w *world) source(object client.Object, namespace string, fields fields.Selector, labels string) (cache.ListerWatcher, error) {
	gvk, err := apiutil.GVKForObject(object, w.scheme)
	if err != nil {
		return nil, err
	}
	mapping, err := w.admin.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, err
	}
	transport, err := rest.HTTPClientFor(w.adminConfig)
	if err != nil {
		return nil, err
	}
	restClient, err := w.restClient(gvk.GroupVersion().Group == "", mapping, transport)
	if err != nil {
		return nil, err
	}
	return cache.NewFilteredListWatchFromClient(restClient, mapping.Resource.Resource, namespace, func(o *metav1.ListOptions) {
		o.LabelSelector = labels
		if fields != nil {
			o.FieldSelector = fields.String()
		}
	}), nil
}

func (w *world) restClient(core bool, mapping *meta.RESTMapping, transport *http.Client) (rest.Interface, error) {
	config := rest.CopyConfig(w.adminConfig)
	version := mapping.GroupVersionKind.GroupVersion()
	config.APIPath, config.GroupVersion = "/apis", &version
	if core {
		config.APIPath = "/api"
	}
	config.NegotiatedSerializer = serializer.NewCodecFactory(w.scheme).WithoutConversion()
	return rest.RESTClientForConfigAndClient(config, transport)
}

// until watches objects until one of them, or the absence of all, is as wanted. It returns the last that was seen.
func until[T client.Object](ctx context.Context, w *world, like T, source cache.ListerWatcher, gone bool, done func(T) bool) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last T
	precondition := func(store cache.Store) (bool, error) { return gone && len(store.List()) == 0, nil }
	_, err := watchtools.UntilWithSync(ctx, source, like.DeepCopyObject(), precondition, func(e watch.Event) (bool, error) {
		object, ok := e.Object.(T)
		if !ok {
			return false, fmt.Errorf("%s: %v", e.Type, e.Object)
		}
		last = object
		if e.Type == watch.Deleted {
			return gone, nil
		}
		return done != nil && done(object), nil
	})
	return last, err
}

// await watches one object until it is as wanted.
func await[T client.Object](t *testing.T, w *world, object T, what string, done func(T) bool) T {
	t.Helper()
	source, err := w.source(object, object.GetNamespace(), fields.OneTermEqualSelector("metadata.name", object.GetName()), "")
	if err != nil {
		t.Fatal(err)
	}
	last, err := until(t.Context(), w, object, source, false, done)
	if err != nil {
		t.Fatalf("%T %s is not %s: %v\n%s", object, object.GetName(), what, err, describe(last))
	}
	return last
}

// awaitGone watches one object until it is not there.
func awaitGone(t *testing.T, w *world, object client.Object) {
	t.Helper()
	source, err := w.source(object, object.GetNamespace(), fields.OneTermEqualSelector("metadata.name", object.GetName()), "")
	if err != nil {
		t.Fatal(err)
	}
	if last, err := until(t.Context(), w, object, source, true, nil); err != nil {
		t.Fatalf("%T %s is not gone: %v\n%s", object, object.GetName(), err, describe(last))
	}
}

// describe shows what an object says of itself; of a Secret only its name.
func describe(object runtime.Object) string {
	switch o := object.(type) {
	case *corev1.Secret:
		return "a Secret"
	default:
		return describeYAML(o)
	}
}

func describeYAML(o any) string {
	if object, ok := o.(client.Object); ok && !reflect.ValueOf(o).IsNil() {
		object.SetManagedFields(nil)
	}
	text, err := yaml.Marshal(o)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func condition(conditions []metav1.Condition, kind string) metav1.Condition {
	if c := meta.FindStatusCondition(conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}
