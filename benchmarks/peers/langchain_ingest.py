"""python langchain_ingest.py FOLDER EMBEDDER CHUNK_TOKENS WORK: a folder of texts into Chroma, as LangChain's own
documentation does it. Prints one line of JSON.
"""

import json
import resource
import sys
import time


def main() -> None:
    folder, embedder, chunk_tokens, work = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    from langchain_chroma import Chroma
    from langchain_community.document_loaders import DirectoryLoader, TextLoader
    from langchain_huggingface import HuggingFaceEmbeddings
    from langchain_text_splitters import RecursiveCharacterTextSplitter
    from transformers import AutoTokenizer

    model = HuggingFaceEmbeddings(
        model_name=embedder,
        model_kwargs={"device": "cpu"},
        encode_kwargs={"batch_size": 32, "normalize_embeddings": True},
    )
    tokenizer = AutoTokenizer.from_pretrained(embedder)
    model.embed_query("warm")
    started = time.perf_counter()
    documents = []
    for pattern in ("**/*.md", "**/*.txt"):
        documents += DirectoryLoader(folder, pattern, loader_cls=TextLoader, silent_errors=True).load()
    splitter = RecursiveCharacterTextSplitter.from_huggingface_tokenizer(
        tokenizer, chunk_size=chunk_tokens, chunk_overlap=0
    )
    chunks = splitter.split_documents(documents)
    store = Chroma("facts", model, work)
    for start in range(0, len(chunks), 5_000):
        store.add_documents(chunks[start : start + 5_000])
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - started,
                "chunks": len(chunks),
                "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        )
    )


main()
