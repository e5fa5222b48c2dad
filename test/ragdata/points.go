package ragdata

import (
	"context"
	"encoding/json"
	"fmt"

	client "github.com/qdrant/go-client/qdrant"
	"golang.org/x/sync/errgroup"
)

// Points says what is in a Qdrant collection: chunks of documents with their embeddings, as a RAG platform keeps them.
type Points struct {
	Seed       uint64
	Rows       int64
	Dimensions int
}

// pointText is the length of a chunk's text in bytes.
const pointText = 1200

// SizedPoints is a collection whose snapshot takes about size bytes. The server packs payloads; vectors stay as they are.
func SizedPoints(seed uint64, size int64, dimensions int) Points {
	return Points{Seed: seed, Rows: max(1, size/int64(4*dimensions+1300)), Dimensions: dimensions}
}

// Point makes one point. Version 0 is how it was loaded; a change gives it another.
func (p Points) Point(row, version int64) *client.PointStruct {
	r := rowRng(p.Seed, tablePoints, row, version)
	v := make([]float32, p.Dimensions)
	embedding(v, &r)
	var metadata map[string]any
	if err := json.Unmarshal(appendMetadata(nil, &r, row), &metadata); err != nil {
		panic(fmt.Sprintf("metadata of point %d: %v", row, err))
	}
	payload := map[string]any{
		"document_id": row / chunksPerDocument, "position": row % chunksPerDocument, "content": string(appendText(nil, &r, pointText)), "metadata": metadata,
	}
	return &client.PointStruct{Id: client.NewIDNum(uint64(row)), Vectors: client.NewVectorsDense(v), Payload: client.NewValueMap(payload)}
}

// Load stores the points from a row on in a collection that exists.
func (p Points) Load(ctx context.Context, to *client.Client, collection string, from int64) error {
	return p.upsert(ctx, to, collection, 0, func(row int64) bool { return row >= from })
}

// Change gives one point in a hundred another content, in the way of the n-th round (from 1).
func (p Points) Change(ctx context.Context, to *client.Client, collection string, round int64) error {
	return p.upsert(ctx, to, collection, round, func(row int64) bool {
		r := rowRng(p.Seed, tableChange, row, round)
		return r.below(100) == 0
	})
}

func (p Points) upsert(ctx context.Context, to *client.Client, collection string, version int64, wanted func(int64) bool) error {
	const batch = 500
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	send := func(points []*client.PointStruct) {
		g.Go(func() error {
			wait := true
			_, err := to.GetPointsClient().Upsert(ctx, &client.UpsertPoints{CollectionName: collection, Wait: &wait, Points: points})
			return err
		})
	}
	var points []*client.PointStruct
	for row := int64(0); row < p.Rows && ctx.Err() == nil; row++ {
		if !wanted(row) {
			continue
		}
		if points = append(points, p.Point(row, version)); len(points) == batch {
			send(points)
			points = nil
		}
	}
	if len(points) > 0 {
		send(points)
	}
	return g.Wait()
}
