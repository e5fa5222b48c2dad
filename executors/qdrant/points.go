package qdrant

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	client "github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Limits of a page of points.
const (
	pageBytes  = 8 << 20
	maxPage    = 1000
	maxPointSz = 256 << 20 // of one encoded point that is read back
)

func isTLS(url string) bool { return strings.HasPrefix(url, "https://") }

// pageSize is how many points fit a page, within what strict mode allows.
func (c *config) pageSize(asked int) int {
	n := int(max(1, min(maxPage, pageBytes/c.pointBytes())))
	if asked > 0 {
		n = asked
	}
	return c.withinStrict(n)
}

// withinStrict lowers a number of points to what strict mode allows in one request.
func (c *config) withinStrict(n int) int {
	var strict struct {
		Enabled bool `json:"enabled"`
		Limit   int  `json:"max_query_limit"`
		Batch   int  `json:"upsert_max_batchsize"`
	}
	if len(c.StrictMode) > 0 && json.Unmarshal(c.StrictMode, &strict) == nil && strict.Enabled {
		for _, most := range []int{strict.Limit, strict.Batch} {
			if most > 0 {
				n = min(n, most)
			}
		}
	}
	return n
}

// pages reads the points of a collection, page by page, each point once, in the order of their ids.
type pages struct {
	d          *dialer
	tries      int
	collection string
	key        json.RawMessage // one shard key; nil for all points
	filter     json.RawMessage
	parts      fields
	size       int

	offset *client.PointId // of the next page
	ended  bool
	now    int // points of the next page, fewer than size where they are large; 0 before the first
}

// limit is how many points the next page asks for.
func (p *pages) limit() int {
	if p.now == 0 {
		p.now = p.size
	}
	return p.now
}

// smaller asks for half as many points while an answer is too large for a message.
func (p *pages) smaller(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if err == nil || ctx.Err() != nil || !tooLarge(err) || p.limit() == 1 {
			return err
		}
		p.now /= 2
	}
}

// fit makes the next page about as large as pages should be.
func (p *pages) fit(points []*client.RetrievedPoint) {
	bytes := 0
	for _, one := range points {
		bytes += proto.Size(one)
	}
	switch {
	case bytes > 2*pageBytes:
		p.now = max(1, p.now*pageBytes/bytes)
	case bytes < pageBytes/2:
		p.now = min(p.size, 2*p.now)
	}
}

// next returns the next page; io.EOF after the last. A break in the middle is made good by asking for the same page again.
func (p *pages) next(ctx context.Context) ([]*client.RetrievedPoint, error) {
	if p.ended {
		return nil, io.EOF
	}
	if p.filter != nil {
		return p.filtered(ctx)
	}
	var got *client.ScrollResponse
	err := p.smaller(ctx, func() error {
		return p.d.each(ctx, p.tries, 0, func(ctx context.Context, c *client.Client) (err error) {
			limit := uint32(p.limit())
			got, err = c.GetPointsClient().Scroll(ctx, &client.ScrollPoints{
				CollectionName: p.collection, Offset: p.offset, Limit: &limit, ShardKeySelector: selector(p.key),
				WithPayload: client.NewWithPayload(p.parts.payload), WithVectors: client.NewWithVectors(p.parts.vectors),
			})
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read points of %q: %w", p.collection, err)
	}
	p.offset = got.GetNextPageOffset()
	p.ended = p.offset == nil
	p.fit(got.GetResult())
	return got.GetResult(), nil
}

// filtered lets the server choose ids by the filter as written (REST takes it verbatim), then reads those points.
func (p *pages) filtered(ctx context.Context) ([]*client.RetrievedPoint, error) {
	body := map[string]any{"filter": p.filter, "limit": p.limit(), "with_payload": false, "with_vector": false}
	if p.key != nil {
		body["shard_key"] = p.key
	}
	if p.offset != nil {
		body["offset"] = idJSON(p.offset)
	}
	var said struct {
		Points []record        `json:"points"`
		Next   json.RawMessage `json:"next_page_offset"`
	}
	if err := p.d.c.ask(ctx, http.MethodPost, path("collections", p.collection, "points", "scroll"), body, &said); err != nil {
		return nil, err
	}
	var ids []*client.PointId
	for _, r := range said.Points {
		id, err := parseID(r.ID)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	p.ended = len(said.Next) == 0 || string(said.Next) == "null"
	if !p.ended {
		var err error
		if p.offset, err = parseID(said.Next); err != nil {
			return nil, err
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	got, err := p.get(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read points of %q: %w", p.collection, err)
	}
	p.fit(got)
	return inOrder(ids, got), nil
}

// get reads points by their ids, in two halves when the answer is too large for a message.
func (p *pages) get(ctx context.Context, ids []*client.PointId) ([]*client.RetrievedPoint, error) {
	var got *client.GetResponse
	err := p.d.each(ctx, p.tries, 0, func(ctx context.Context, c *client.Client) (err error) {
		got, err = c.GetPointsClient().Get(ctx, &client.GetPoints{
			CollectionName: p.collection, Ids: ids, ShardKeySelector: selector(p.key),
			WithPayload: client.NewWithPayload(p.parts.payload), WithVectors: client.NewWithVectors(p.parts.vectors),
		})
		return err
	})
	if err == nil {
		return got.GetResult(), nil
	}
	if ctx.Err() != nil || !tooLarge(err) || len(ids) == 1 {
		return nil, err
	}
	first, err := p.get(ctx, ids[:len(ids)/2])
	if err != nil {
		return nil, err
	}
	rest, err := p.get(ctx, ids[len(ids)/2:])
	return append(first, rest...), err
}

func tooLarge(err error) bool { return isGRPC(err) && status.Code(err) == codes.ResourceExhausted }

// inOrder brings points into the order of their ids: equal points must give equal bytes.
func inOrder(ids []*client.PointId, points []*client.RetrievedPoint) []*client.RetrievedPoint {
	byID := map[string]*client.RetrievedPoint{}
	for _, p := range points {
		byID[string(idJSON(p.GetId()))] = p
	}
	var out []*client.RetrievedPoint
	for _, id := range ids {
		if p := byID[string(idJSON(id))]; p != nil {
			out = append(out, p)
		}
	}
	return out
}

func parseID(raw json.RawMessage) (*client.PointId, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil && text != "" {
		return client.NewID(text), nil
	}
	n, err := strconv.ParseUint(string(raw), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("point id %s is neither a number nor a UUID", raw)
	}
	return client.NewIDNum(n), nil
}

func idJSON(id *client.PointId) json.RawMessage {
	if u := id.GetUuid(); u != "" {
		return json.RawMessage(strconv.Quote(u))
	}
	return json.RawMessage(strconv.FormatUint(id.GetNum(), 10))
}

// selector restricts a request to one shard key.
func selector(key json.RawMessage) *client.ShardKeySelector {
	if key == nil {
		return nil
	}
	return &client.ShardKeySelector{ShardKeys: []*client.ShardKey{shardKey(key)}}
}

func shardKey(key json.RawMessage) *client.ShardKey {
	var text string
	if json.Unmarshal(key, &text) == nil {
		return client.NewShardKey(text)
	}
	n, _ := strconv.ParseUint(string(key), 10, 64) // a server says only texts and numbers
	return client.NewShardKeyNum(n)
}

// appendPoint encodes a point: its length as a uvarint, then Qdrant's own protocol message, with keys in order.
func appendPoint(dst []byte, p *client.RetrievedPoint) ([]byte, error) {
	m := proto.MarshalOptions{Deterministic: true}
	dst = binary.AppendUvarint(dst, uint64(m.Size(p)))
	return m.MarshalAppend(dst, p)
}

// pointDecoder reads what appendPoint wrote.
type pointDecoder struct {
	r   *bufio.Reader
	buf []byte
	n   uint64
}

func newPointDecoder(r io.Reader) *pointDecoder {
	return &pointDecoder{r: bufio.NewReaderSize(r, 1<<20)}
}

// next returns the next point; io.EOF after the last.
func (d *pointDecoder) next() (*client.RetrievedPoint, error) {
	size, err := binary.ReadUvarint(d.r)
	if errors.Is(err, io.EOF) && err == io.EOF { //nolint:errorlint // a wrapped EOF is a failure
		return nil, io.EOF
	}
	if err != nil {
		return nil, fmt.Errorf("point %d: %w", d.n+1, err)
	}
	if size > maxPointSz {
		return nil, fmt.Errorf("point %d claims %d bytes", d.n+1, size)
	}
	if d.buf, err = readExactly(d.r, d.buf, int(size)); err != nil {
		return nil, fmt.Errorf("point %d: %w", d.n+1, err)
	}
	p := &client.RetrievedPoint{}
	if err := proto.Unmarshal(d.buf, p); err != nil {
		return nil, fmt.Errorf("point %d: %w", d.n+1, err)
	}
	if p.GetId() == nil {
		return nil, fmt.Errorf("point %d has no id", d.n+1)
	}
	d.n++
	return p, nil
}

// readExactly reads n bytes into buf, growing it as bytes come rather than by what is claimed.
func readExactly(r io.Reader, buf []byte, n int) ([]byte, error) {
	const step = 1 << 20
	buf = buf[:0]
	for len(buf) < n {
		more := min(step, n-len(buf))
		at := len(buf)
		buf = append(buf, make([]byte, more)...)
		if _, err := io.ReadFull(r, buf[at:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return buf, err
		}
	}
	return buf, nil
}

// toWrite makes of a point that was read one that can be written.
func toWrite(p *client.RetrievedPoint) *client.PointStruct {
	out := &client.PointStruct{Id: p.GetId(), Payload: p.GetPayload()}
	switch v := p.GetVectors().GetVectorsOptions().(type) {
	case *client.VectorsOutput_Vector:
		out.Vectors = &client.Vectors{VectorsOptions: &client.Vectors_Vector{Vector: vectorToWrite(v.Vector)}}
	case *client.VectorsOutput_Vectors:
		named := map[string]*client.Vector{}
		for name, one := range v.Vectors.GetVectors() {
			named[name] = vectorToWrite(one)
		}
		out.Vectors = client.NewVectorsMap(named)
	default:
		out.Vectors = client.NewVectorsMap(map[string]*client.Vector{})
	}
	return out
}

// vectorToWrite converts one vector. Servers before 1.16 tell every kind in flat fields, which go-client's getters unite.
func vectorToWrite(v *client.VectorOutput) *client.Vector {
	if m := v.GetMultiVector(); m != nil {
		var rows [][]float32
		for _, one := range m.GetVectors() {
			rows = append(rows, one.GetData())
		}
		return client.NewVectorMulti(rows)
	}
	if s := v.GetSparseVector(); s != nil {
		return client.NewVectorSparse(s.GetIndices(), s.GetValues())
	}
	return client.NewVectorDense(v.GetDenseVector().GetData())
}
