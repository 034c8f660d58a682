// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package guard tells whether the admission rules that hold Jobs and fence Secrets are whole: every policy present with the
// very spec that was shipped, every binding denying, and a request that they must refuse refused in fact.
package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"sort"
	"strings"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Status is what was found.
type Status struct {
	// Problems names what is missing or differs, in a stable order. Empty when the guard is whole.
	Problems []string
	// Since is when the youngest rule was stored or last changed. What is older was never under the guard.
	Since time.Time
}

// Whole reports whether nothing is missing.
func (s Status) Whole() bool { return len(s.Problems) == 0 }

// Message says to a person what is wrong and what to do.
func (s Status) Message() string {
	const most = 3
	list, more := s.Problems, ""
	if len(list) > most {
		list, more = list[:most], fmt.Sprintf(" and %d more", len(s.Problems)-most)
	}
	return "the admission rules are not whole: " + strings.Join(list, "; ") + more + "; apply config/admission again, and use kubectl replace for a rule that still differs"
}

// Checker compares the API server's rules with the shipped ones.
type Checker struct {
	reader   client.Reader
	prober   client.Client
	probeNS  string
	expected []client.Object

	mu sync.Mutex
	// compared is what was found of each expected rule, in their order, under the resourceVersion of then.
	compared []comparison
}

type comparison struct {
	resourceVersion string
	problem         string
	changed         time.Time
}

// New reads the shipped rules from files. The reader sees the API server's rules; the prober's identity is the operator's.
func New(files fs.FS, reader client.Reader, prober client.Client, probeNamespace string) (*Checker, error) {
	expected, err := Decode(files)
	if err != nil {
		return nil, err
	}
	if len(expected) == 0 {
		return nil, fmt.Errorf("no admission rules were shipped with this program")
	}
	return &Checker{reader: reader, prober: prober, probeNS: probeNamespace, expected: expected, compared: make([]comparison, len(expected))}, nil
}

// Decode reads every admission rule and binding from the YAML files, and passes other documents over.
func Decode(files fs.FS) ([]client.Object, error) {
	scheme := runtime.NewScheme()
	if err := admissionv1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	decoder := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	names, err := fs.Glob(files, "*/*.yaml")
	if err != nil {
		return nil, err
	}
	var objects []client.Object
	for _, name := range names {
		found, err := decodeFile(files, name, decoder)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		objects = append(objects, found...)
	}
	return objects, nil
}

func decodeFile(files fs.FS, name string, decoder runtime.Decoder) ([]client.Object, error) {
	file, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	var objects []client.Object
	documents := utilyaml.NewDocumentDecoder(file)
	buffer := make([]byte, 1<<20)
	for {
		n, err := documents.Read(buffer)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		object, _, err := decoder.Decode(buffer[:n], nil, nil)
		if runtime.IsNotRegisteredError(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		objects = append(objects, object.(client.Object))
	}
}

// Kinds are the kinds whose change can change the answer.
func Kinds() []client.Object {
	return []client.Object{
		&admissionv1.ValidatingAdmissionPolicy{}, &admissionv1.ValidatingAdmissionPolicyBinding{},
		&admissionv1.MutatingAdmissionPolicy{}, &admissionv1.MutatingAdmissionPolicyBinding{},
	}
}

// Check compares every rule. An error means only that it could not be found out.
func (c *Checker) Check(ctx context.Context) (Status, error) {
	var status Status
	for i, want := range c.expected {
		got := reflect.New(reflect.TypeOf(want).Elem()).Interface().(client.Object)
		err := c.reader.Get(ctx, client.ObjectKeyFromObject(want), got, client.UnsafeDisableDeepCopy)
		if apierrors.IsNotFound(err) {
			status.Problems = append(status.Problems, describe(want)+" is missing")
			continue
		}
		if err != nil {
			return Status{}, fmt.Errorf("looking at %s: %w", describe(want), err)
		}
		found := c.compare(i, got)
		if found.problem != "" {
			status.Problems = append(status.Problems, found.problem)
		}
		if found.changed.After(status.Since) {
			status.Since = found.changed
		}
	}
	sort.Strings(status.Problems)
	return status, nil
}

// compare compares an expected rule with the stored one, once for each of its resourceVersions.
func (c *Checker) compare(i int, got client.Object) comparison {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.compared[i]; known.resourceVersion != "" && known.resourceVersion == got.GetResourceVersion() {
		return known
	}
	want := c.expected[i]
	found := comparison{resourceVersion: got.GetResourceVersion(), changed: lastChanged(got)}
	switch {
	case got.GetDeletionTimestamp() != nil:
		found.problem = describe(want) + " is being deleted"
	case !equality.Semantic.DeepEqual(spec(want), spec(got)):
		found.problem = describe(want) + " differs from the shipped one"
	}
	c.compared[i] = found
	return found
}

// Probe asks, by a dry run, for something that the rules must refuse to the operator itself: a Secret that is not a grant's.
// It returns a problem in words, empty when the rules refused it.
func (c *Checker) Probe(ctx context.Context) (string, error) {
	err := c.prober.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.probeNS, Name: "guard-probe"},
		Type:       corev1.SecretTypeOpaque,
	}, client.DryRunAll)
	switch {
	case err == nil:
		return "the API server does not enforce them: it would have stored a Secret that they refuse", nil
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "ValidatingAdmissionPolicy"):
		return "", nil
	case apierrors.IsForbidden(err):
		return "the operator's own rights are incomplete: it may not create Secrets; apply config/rbac again", nil
	default:
		return "", fmt.Errorf("probing the admission rules: %w", err)
	}
}

func spec(o client.Object) any {
	switch o := o.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		return o.Spec
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		return o.Spec
	case *admissionv1.MutatingAdmissionPolicy:
		return o.Spec
	case *admissionv1.MutatingAdmissionPolicyBinding:
		return o.Spec
	default:
		return nil
	}
}

// lastChanged is when the object was stored, or its spec last written by anybody.
func lastChanged(o client.Object) time.Time {
	last := o.GetCreationTimestamp().Time
	for _, field := range o.GetManagedFields() {
		if field.Subresource == "" && field.Time != nil && field.Time.After(last) {
			last = field.Time.Time
		}
	}
	return last
}

func describe(o client.Object) string {
	return kindOf(o).Kind + " " + o.GetName()
}

func kindOf(o client.Object) schema.GroupVersionKind {
	switch o.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		return admissionv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicy")
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		return admissionv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicyBinding")
	case *admissionv1.MutatingAdmissionPolicy:
		return admissionv1.SchemeGroupVersion.WithKind("MutatingAdmissionPolicy")
	case *admissionv1.MutatingAdmissionPolicyBinding:
		return admissionv1.SchemeGroupVersion.WithKind("MutatingAdmissionPolicyBinding")
	default:
		return schema.GroupVersionKind{}
	}
}
