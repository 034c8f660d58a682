// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package canary remembers, as an administrator can, the secret part of every credential that was ever in a grant's Secret, so that it
// can be looked for where it must not stand.
package canary

import (
	"context"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// Canary knows secret values.
type Canary struct {
	mu     sync.Mutex
	values map[string]bool
	grants int
}

// Watch remembers the Secrets of grants until the context ends. It returns when it sees them.
func Watch(ctx context.Context, config *rest.Config) (*Canary, error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	c := &Canary{values: map[string]bool{}}
	source := cache.NewListWatchFromClient(clients.CoreV1().RESTClient(), "secrets", metav1.NamespaceAll,
		fields.OneTermEqualSelector("type", v1alpha1.SecretType))
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{ListerWatcher: source, ObjectType: &corev1.Secret{},
		Handler: cache.ResourceEventHandlerFuncs{AddFunc: func(object any) { c.add(object.(*corev1.Secret)) }}})
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return nil, ctx.Err()
	}
	return c, nil
}

// secretNames are the settings, in files and variables of any back end, whose values are secret.
var secretNames = []string{"secret_access_key", "token", "password"}

// add takes the secret values out of files, name = value or name: value, and out of variables.
func (c *Canary) add(secret *corev1.Secret) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.grants++
	for key, content := range secret.Data {
		for line := range strings.Lines(string(content)) {
			name, value := key, strings.TrimSpace(line)
			if i := strings.IndexAny(value, "=:"); i > 0 && strings.Contains(key, ".") {
				name, value = strings.TrimSpace(value[:i]), strings.TrimSpace(value[i+1:])
			}
			for _, known := range secretNames {
				if strings.HasSuffix(strings.ToLower(name), known) {
					c.values[value] = true
				}
			}
		}
	}
}

// Stands reports whether a secret value is part of the text.
func (c *Canary) Stands(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for value := range c.values {
		if strings.Contains(text, value) {
			return true
		}
	}
	return false
}

// Count is how many secret values of how many grants are known.
func (c *Canary) Count() (values, grants int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.values), c.grants
}
