// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package stored_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/valetkey/valetkey/internal/controller/stored"
)

func TestRelease_IsHeldUpByNothingThatOthersMayWrite(t *testing.T) {
	const ours, others = "valetkey.dev/seen", "example.com/theirs"
	for name, tt := range map[string]struct {
		meanwhile func(*corev1.Pod)
		stays     []string
		refused   bool
	}{
		"nobody":                    {meanwhile: func(*corev1.Pod) {}, stays: []string{others}},
		"a note":                    {meanwhile: func(p *corev1.Pod) { p.Annotations = map[string]string{"x": "1"} }, stays: []string{others}},
		"a finalizer behind it":     {meanwhile: func(p *corev1.Pod) { p.Finalizers = append(p.Finalizers, "example.com/new") }, stays: []string{others, "example.com/new"}},
		"a finalizer that moves it": {meanwhile: func(p *corev1.Pod) { p.Finalizers = []string{ours, others} }, stays: []string{ours, others}, refused: true},
		"the same once more":        {meanwhile: func(p *corev1.Pod) { p.Finalizers = append(p.Finalizers, ours) }, stays: []string{others, ours}},
		"another of its name":       {meanwhile: func(p *corev1.Pod) { p.UID = "2" }, stays: []string{ours, others, ours}, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "a", UID: types.UID("1"), Finalizers: []string{ours, others, ours}}}
			c := fake.NewClientBuilder().WithObjects(pod).Build()
			looked, now := &corev1.Pod{}, &corev1.Pod{}
			must(t, c.Get(t.Context(), client.ObjectKeyFromObject(pod), looked))
			must(t, c.Get(t.Context(), client.ObjectKeyFromObject(pod), now))
			tt.meanwhile(now)
			must(t, c.Update(t.Context(), now))

			err := stored.Release(t.Context(), c, looked, ours)

			if (err != nil) != tt.refused {
				t.Errorf("refused: %v", err)
			}
			must(t, c.Get(t.Context(), client.ObjectKeyFromObject(pod), now))
			if !slices.Equal(now.Finalizers, tt.stays) {
				t.Errorf("its finalizers are %v, want %v", now.Finalizers, tt.stays)
			}
			if err := stored.Release(t.Context(), c, &corev1.Pod{}, ours); err != nil {
				t.Errorf("what has no finalizer: %v", err)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
