package corruption

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
)

// memory is a bucket whose objects can be damaged. A copy shares the bytes: damage replaces an object, never changes it.
type memory struct {
	mu      sync.Mutex
	objects map[string][]byte
}

var _ blob.Bucket = (*memory)(nil)

func newMemory() *memory { return &memory{objects: map[string][]byte{}} }

func (m *memory) copy() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memory{objects: maps.Clone(m.objects)}
}

func (m *memory) names(prefix string) (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.objects {
		if strings.HasPrefix(name, prefix) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (m *memory) Put(_ context.Context, name string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.objects[name] = bytes.Clone(data)
	return nil
}

func (m *memory) Create(_ context.Context, name string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[name]; ok {
		return fmt.Errorf("create %s: %w", name, blob.ErrExists)
	}
	m.objects[name] = bytes.Clone(data)
	return nil
}

func (m *memory) Get(_ context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.objects[name]
	if !ok {
		return nil, fmt.Errorf("get %s: %w", name, blob.ErrNotFound)
	}
	return bytes.Clone(data), nil
}

func (m *memory) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	data, err := m.Get(ctx, name)
	if err == nil && (offset < 0 || length < 0 || offset+length > int64(len(data))) {
		err = fmt.Errorf("get %s: %d bytes from %d are past its end", name, length, offset)
	}
	if err != nil {
		return nil, err
	}
	return data[offset : offset+length], nil
}

func (m *memory) Stat(ctx context.Context, name string) (blob.Info, error) {
	data, err := m.Get(ctx, name)
	return blob.Info{Name: name, Size: int64(len(data)), ModTime: time.Unix(1_800_000_000, 0)}, err
}

func (m *memory) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	for _, name := range m.names(prefix) {
		info, err := m.Stat(ctx, name)
		if err != nil {
			continue
		}
		if err := fn(info); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Delete(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, name)
	return nil
}

func (m *memory) Close() error { return nil }
