// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"context"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// canary knows the secret part of every credential that was ever in a grant's Secret.
type canary struct {
	mu     sync.Mutex
	values map[string]bool
}

// collect watches grants' Secrets, as an administrator can.
func (w *world) collect(ctx context.Context) error {
	w.canary.values = map[string]bool{}
	source, err := w.source(&corev1.Secret{}, metav1.NamespaceAll, fields.OneTermEqualSelector("type", v1alpha1.SecretType), "")
	if err != nil {
		return err
	}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{ListerWatcher: source, ObjectType: &corev1.Secret{},
		Handler: cache.ResourceEventHandlerFuncs{AddFunc: func(object any) { w.canary.add(object.(*corev1.Secret)) }}})
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return ctx.Err()
	}
	return nil
}

func (c *canary) add(secret *corev1.Secret) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, content := range secret.Data {
		if key == "AWS_SECRET_ACCESS_KEY" || key == "AWS_SESSION_TOKEN" {
			c.values[string(content)] = true
		}
		for line := range strings.Lines(string(content)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
			if name == "aws_secret_access_key" || name == "aws_session_token" {
				c.values[value] = true
			}
		}
	}
}

// stands reports whether a secret value is part of the text.
func (c *canary) stands(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for value := range c.values {
		if strings.Contains(text, value) {
			return true
		}
	}
	return false
}

func (c *canary) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.values)
}
