// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {InferenceEscrow} from "../src/InferenceEscrow.sol";
import {OpenToken} from "../src/OpenToken.sol";
import {RewardsDistributor} from "../src/RewardsDistributor.sol";
import {Base, Merkle} from "./Base.sol";

/// @dev Recomputes, with the contracts' own code, every value that Python wrote into `vectors/`.
contract VectorsTest is Base {
    function test_claimTrees() public {
        string memory json = vm.readFile("vectors/claims.json");
        vm.chainId(vm.parseJsonUint(json, ".chain_id"));
        address at = vm.parseJsonAddress(json, ".distributor");
        vm.etch(at, address(distributor).code);
        uint256 trees = 0;
        for (; vm.keyExistsJson(json, _at(".trees", trees, "")); ++trees) {
            _tree(json, _at(".trees", trees, ""), RewardsDistributor(at));
        }
        eq(trees, 6);
    }

    function _tree(string memory json, string memory tree, RewardsDistributor at) private view {
        bytes32 root = vm.parseJsonBytes32(json, string.concat(tree, ".root"));
        string memory list = string.concat(tree, ".leaves");
        bytes32[] memory leaves = new bytes32[](64);
        uint256 total = 0;
        uint256 count = 0;
        for (; vm.keyExistsJson(json, _at(list, count, "")); ++count) {
            uint128 cumulative = uint128(vm.parseJsonUint(json, _at(list, count, ".cumulative")));
            bytes32 leaf = at.leafOf(vm.parseJsonAddress(json, _at(list, count, ".account")), cumulative);
            eq(leaf, vm.parseJsonBytes32(json, _at(list, count, ".leaf")));
            bytes32[] memory proof = vm.parseJsonBytes32Array(json, _at(list, count, ".proof"));
            require(MerkleProof.verify(proof, root, leaf), "proof does not lead to the root");
            leaves[count] = leaf;
            total += cumulative;
        }
        assembly ("memory-safe") {
            mstore(leaves, count)
        }
        eq(Merkle.root(leaves), root);
        eq(total, vm.parseJsonUint(json, string.concat(tree, ".total")));
    }

    function test_signatures() public {
        string memory json = vm.readFile("vectors/signatures.json");
        vm.chainId(vm.parseJsonUint(json, ".chain_id"));
        InferenceEscrow at = InferenceEscrow(vm.parseJsonAddress(json, ".escrow"));
        vm.etch(address(at), address(escrow).code);
        OpenToken coin = OpenToken(vm.parseJsonAddress(json, ".token"));
        vm.etch(address(coin), address(token).code);
        RewardsDistributor payout = RewardsDistributor(vm.parseJsonAddress(json, ".distributor"));
        vm.etch(address(payout), address(distributor).code);
        for (uint256 i = 0; i < 3; ++i) {
            address payer = vm.parseJsonAddress(json, _at(".authorisations", i, ".payer"));
            bytes32 digest = at.authorisationDigest(
                payer,
                vm.parseJsonUint(json, _at(".authorisations", i, ".cap")),
                vm.parseJsonUint(json, _at(".authorisations", i, ".deadline"))
            );
            eq(digest, vm.parseJsonBytes32(json, _at(".authorisations", i, ".digest")));
            eq(ECDSA.recover(digest, vm.parseJsonBytes(json, _at(".authorisations", i, ".signature"))), payer);
            _permit(json, i, coin, address(at));
            _claim(json, _at(".claims", i, ""), payout);
            _transfer(json, _at(".deposits", i, ""), coin, true);
            _transfer(json, _at(".transfers", i, ""), coin, false);
        }
    }

    function _claim(string memory json, string memory at, RewardsDistributor payout) private view {
        address account = vm.parseJsonAddress(json, string.concat(at, ".account"));
        bytes32 digest = payout.claimDigest(
            account,
            vm.parseJsonAddress(json, string.concat(at, ".to")),
            vm.parseJsonUint(json, string.concat(at, ".cumulative")),
            vm.parseJsonUint(json, string.concat(at, ".max_fee")),
            vm.parseJsonUint(json, string.concat(at, ".deadline"))
        );
        eq(digest, vm.parseJsonBytes32(json, string.concat(at, ".digest")));
        eq(ECDSA.recover(digest, vm.parseJsonBytes(json, string.concat(at, ".signature"))), account);
    }

    function _permit(string memory json, uint256 i, OpenToken coin, address spender) private {
        bytes memory signature = vm.parseJsonBytes(json, _at(".permits", i, ".signature"));
        address owner = vm.parseJsonAddress(json, _at(".permits", i, ".owner"));
        uint256 value = vm.parseJsonUint(json, _at(".permits", i, ".value"));
        uint256 deadline = vm.parseJsonUint(json, _at(".permits", i, ".deadline"));
        coin.permit(owner, spender, value, deadline, uint8(signature[64]), _word(signature, 32), _word(signature, 64));
        eq(coin.allowance(owner, spender), value);
    }

    /// @dev A transfer (ERC-3009) that its receiver alone can send, or anybody.
    function _transfer(string memory json, string memory at, OpenToken coin, bool received) private {
        bytes memory signature = vm.parseJsonBytes(json, string.concat(at, ".signature"));
        address from = vm.parseJsonAddress(json, string.concat(at, ".from"));
        address to = vm.parseJsonAddress(json, string.concat(at, ".to"));
        uint256 value = vm.parseJsonUint(json, string.concat(at, ".value"));
        uint256 validAfter = vm.parseJsonUint(json, string.concat(at, ".valid_after"));
        uint256 validBefore = vm.parseJsonUint(json, string.concat(at, ".valid_before"));
        bytes32 nonce = vm.parseJsonBytes32(json, string.concat(at, ".nonce"));
        uint8 v = uint8(signature[64]);
        (bytes32 r, bytes32 s) = (_word(signature, 32), _word(signature, 64));
        vm.store(address(coin), keccak256(abi.encode(from, 0)), bytes32(value)); // its balance
        vm.store(address(coin), keccak256(abi.encode(to, 0)), 0);
        if (received) {
            vm.prank(to);
            coin.receiveWithAuthorization(from, to, value, validAfter, validBefore, nonce, v, r, s);
        } else {
            coin.transferWithAuthorization(from, to, value, validAfter, validBefore, nonce, v, r, s);
        }
        eq(coin.balanceOf(to), value);
    }

    function _word(bytes memory data, uint256 offset) private pure returns (bytes32 word) {
        assembly ("memory-safe") {
            word := mload(add(data, offset))
        }
    }

    function _at(string memory list, uint256 i, string memory key) private pure returns (string memory) {
        return string.concat(list, "[", vm.toString(i), "]", key);
    }
}
