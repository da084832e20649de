"""python llamaindex_ingest.py FOLDER EMBEDDER CHUNK_TOKENS WORK: a folder of texts into Chroma, as LlamaIndex's own
documentation does it. Prints one line of JSON.
"""

import json
import resource
import sys
import time


def main() -> None:
    folder, embedder, chunk_tokens, work = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    import chromadb
    from llama_index.core import SimpleDirectoryReader, StorageContext, VectorStoreIndex
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding
    from llama_index.vector_stores.chroma import ChromaVectorStore
    from transformers import AutoTokenizer

    model = HuggingFaceEmbedding(model_name=embedder, embed_batch_size=32, device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(embedder)
    model.get_text_embedding("warm")
    started = time.perf_counter()
    documents = SimpleDirectoryReader(folder, recursive=True, required_exts=[".md", ".txt"]).load_data()
    splitter = SentenceSplitter(chunk_size=chunk_tokens, chunk_overlap=0, tokenizer=tokenizer.tokenize)
    collection = chromadb.PersistentClient(work).get_or_create_collection("facts")
    context = StorageContext.from_defaults(vector_store=ChromaVectorStore(chroma_collection=collection))
    VectorStoreIndex.from_documents(documents, storage_context=context, embed_model=model, transformations=[splitter])
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - started,
                "chunks": collection.count(),
                "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        )
    )


main()
