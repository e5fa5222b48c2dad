package archive

import (
	"bytes"
	"fmt"
	"strings"
)

// maker builds archives block by block, so that they can be wrong in every way.
type maker struct{ bytes.Buffer }

// head is one header block with a right sum; change sees it before it is summed up.
func head(name string, typ byte, size int64, change func([]byte)) []byte {
	h := make([]byte, block)
	copy(h, name)
	copy(h[100:], fmt.Sprintf("%07o\x00%07o\x00%07o\x00%011o\x00%011o\x00", 0o644, 0, 0, size, 0))
	h[156] = typ
	copy(h[257:], "ustar  \x00")
	if change != nil {
		change(h)
	}
	copy(h[148:], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// raw puts a header and what follows it.
func (m *maker) raw(h, content []byte) *maker {
	m.Write(h)
	m.Write(content)
	m.Write(make([]byte, -len(content)&(block-1)))
	return m
}

func (m *maker) add(name, content string) *maker {
	return m.raw(head(name, '0', int64(len(content)), nil), []byte(content))
}

// sparse puts a member whose map needs so many blocks behind its header.
func (m *maker) sparse(name, content string, extensions int) *maker {
	m.Write(head(name, 'S', int64(len(content)), func(h []byte) { h[482] = byte(min(extensions, 1)) }))
	for i := range extensions {
		more := make([]byte, block)
		more[504] = byte(min(extensions-1-i, 1))
		m.Write(more)
	}
	return m.raw(nil, []byte(content))
}

// long puts a member whose name stands in a member of its own before it: 'L' is GNU's way, 'x' is POSIX's.
func (m *maker) long(typ byte, name, content string) *maker {
	note := name + "\x00"
	if typ == 'x' {
		pair := " path=" + name + "\n"
		n := len(pair) + 2
		for len(fmt.Sprint(n))+len(pair) != n {
			n++
		}
		note = fmt.Sprint(n) + pair
	}
	m.raw(head("././@LongLink", typ, int64(len(note)), nil), []byte(note))
	return m.add(name[:min(len(name), 100)], content)
}

func (m *maker) end() []byte {
	m.Write(make([]byte, 2*block))
	return m.Bytes()
}

// closed ends an archive of a shard as Qdrant does.
func (m *maker) closed() []byte {
	return m.add("replica_state.json", `{"is_local":true}`).add("shard_config.json", `{"type":"ReplicaSet"}`).end()
}

// nestedWith is a nested archive, without an end marker, as real servers leave it.
func nestedWith(files ...string) *maker {
	m := &maker{}
	for _, f := range files {
		m.add("snapshot/files/"+f, "content of "+f)
	}
	return m
}

// whole is a shard with a segment in each of the two layouts.
func whole() *maker {
	m := &maker{}
	m.add("segments/a.tar", nestedWith("vectors/chunk_0.mmap", "segment.json", "version.info").String())
	for _, f := range []string{"segment.json", "version.info", "vectors/chunk_0.mmap"} {
		m.add("segments/b/files/"+f, strings.Repeat("b", 700))
	}
	return m
}
