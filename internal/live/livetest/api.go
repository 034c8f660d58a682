// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package livetest is an API server whose objects are as large as it can store, and a meter of what reading them takes.
package livetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// Large is how many bytes of metadata.managedFields each object has.
const Large = 1_500_000

// API serves objects by their kind's path, each with managedFields of Large bytes.
type API struct {
	fields  []byte
	objects map[string][]client.Object
}

// New returns a client of an API server that has the objects.
func New(t *testing.T, objects ...client.Object) client.Client {
	t.Helper()
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(known); err != nil {
			t.Fatal(err)
		}
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, gv := range []struct {
		in    runtime.Object
		scope meta.RESTScope
	}{
		{&v1alpha1.CapabilityRequest{}, meta.RESTScopeNamespace}, {&v1alpha1.CapabilityGrant{}, meta.RESTScopeNamespace},
		{&corev1.ConfigMap{}, meta.RESTScopeNamespace}, {&corev1.ServiceAccount{}, meta.RESTScopeNamespace},
		{&batchv1.Job{}, meta.RESTScopeNamespace},
	} {
		kinds, _, err := known.ObjectKinds(gv.in)
		if err != nil {
			t.Fatal(err)
		}
		mapper.Add(kinds[0], gv.scope)
	}
	api := &API{fields: managedFields(), objects: map[string][]client.Object{}}
	for _, object := range objects {
		api.add(t, known, mapper, object)
	}
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	c, err := client.New(&rest.Config{Host: server.URL, QPS: -1}, client.Options{Scheme: known, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (a *API) add(t *testing.T, known *runtime.Scheme, mapper meta.RESTMapper, object client.Object) {
	t.Helper()
	kinds, _, err := known.ObjectKinds(object)
	if err != nil {
		t.Fatal(err)
	}
	mapping, err := mapper.RESTMapping(kinds[0].GroupKind(), kinds[0].Version)
	if err != nil {
		t.Fatal(err)
	}
	object.GetObjectKind().SetGroupVersionKind(kinds[0])
	path := "/apis/" + kinds[0].GroupVersion().String()
	if kinds[0].Group == "" {
		path = "/api/" + kinds[0].Version
	}
	path += "/namespaces/" + object.GetNamespace() + "/" + mapping.Resource.Resource
	a.objects[path] = append(a.objects[path], object)
}

// managedFields is valid, and says as much as fits by many short fields.
func managedFields() []byte {
	var text bytes.Buffer
	text.WriteString(`[{"manager":"m","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:a":{}`)
	for i := 0; text.Len() < Large; i++ {
		fmt.Fprintf(&text, `,"f:%x":{}`, i)
	}
	text.WriteString(`}}}]`)
	return text.Bytes()
}

// ServeHTTP gets one object, or lists a page of them.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if list, ok := a.objects[r.URL.Path]; ok {
		a.page(w, r, list)
		return
	}
	at := strings.LastIndex(r.URL.Path, "/")
	for _, object := range a.objects[r.URL.Path[:at]] {
		if object.GetName() == r.URL.Path[at+1:] {
			a.write(w, object)
			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`))
}

func (a *API) page(w http.ResponseWriter, r *http.Request, list []client.Object) {
	from, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	to, next := len(list), ""
	if limit > 0 && from+limit < to {
		to = from + limit
		next = strconv.Itoa(to)
	}
	kind := list[0].GetObjectKind().GroupVersionKind()
	_, _ = fmt.Fprintf(w, `{"kind":"%sList","apiVersion":%q,"metadata":{"continue":%q},"items":[`, kind.Kind, kind.GroupVersion(), next)
	for i, object := range list[from:to] {
		if i > 0 {
			_, _ = w.Write([]byte(","))
		}
		a.write(w, object)
	}
	_, _ = w.Write([]byte("]}"))
}

// write writes an object with its managedFields, which are not copied for it.
func (a *API) write(w http.ResponseWriter, object client.Object) {
	text, _ := json.Marshal(object) // objects of the API can always be encoded
	before, after, _ := bytes.Cut(text, []byte(`"metadata":{`))
	for _, part := range [][]byte{before, []byte(`"metadata":{"managedFields":`), a.fields, []byte(","), after} {
		_, _ = w.Write(part)
	}
}
